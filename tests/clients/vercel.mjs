// Vercel's AI SDK, as an application uses it: `LEXGATE_PROVIDER=NAME node vercel.mjs BASE_URL EXCHANGE...`.

import { createAnthropic } from "@ai-sdk/anthropic";
import { createGoogleGenerativeAI } from "@ai-sdk/google";
import { createOpenAI } from "@ai-sdk/openai";
import { APICallError, generateText, jsonSchema, streamText, tool } from "ai";
import { baseURL, schema, tell } from "./seen.mjs";

const apiKey = "key";

const providers = {
  "chat": () => createOpenAI({ baseURL, apiKey }).chat("gpt-4o"),
  "responses": () => createOpenAI({ baseURL, apiKey }).responses("gpt-5"),
  "messages": () => createAnthropic({ baseURL: `${baseURL}/v1`, apiKey })("claude-opus-4-7"),
  "gemini": () =>
    createGoogleGenerativeAI({ baseURL: `${baseURL}/v1beta`, apiKey, generateId: () => "made" })("gemini-2.5-flash"),
};

const model = providers[process.env.LEXGATE_PROVIDER]();

const tools = { bash: tool({ inputSchema: jsonSchema(schema) }) };

const asking = (prompt) => ({ model, prompt, maxRetries: 0, maxOutputTokens: 4096 });

// The fields that both kinds of results have; of a streamed one each is awaited.
async function seen(result, events = []) {
  const [text, reasoning, calls, finish, usage] = await Promise.all([
    result.text,
    result.reasoningText,
    result.toolCalls,
    result.finishReason,
    result.usage,
  ]);
  const ids = calls.map((call) => call.toolCallId);
  return { text, calls: calls.map((call) => [call.toolName, call.input]), finish, object: { reasoning, ids, usage }, events };
}

async function streamed(body) {
  const result = streamText({ ...body, onError: () => {} });
  const events = [];
  for await (const part of result.fullStream) {
    if (part.type === "error") throw part.error;
    events.push([part.type, part.text ?? part.delta ?? null]);
  }
  return seen(result, events);
}

const exchanges = {
  "whole": async () => seen(await generateText(asking("Hello"))),
  "stream": async () => streamed(asking("Hello")),
  "tools": async () => seen(await generateText({ ...asking("Tidy up"), tools })),
  "tools-stream": async () => streamed({ ...asking("Tidy up"), tools }),
  "forbidden": async () => streamed(asking("Where are the bananas?")),
};

await tell(exchanges, (error) => {
  if (!APICallError.isInstance(error)) return null;
  return { status: error.statusCode, message: error.message };
});
