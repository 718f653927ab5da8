// Messages with Anthropic's client for Node, as an application uses it: `node messages.mjs BASE_URL EXCHANGE...`.

import Anthropic from "@anthropic-ai/sdk";
import { baseURL, schema, tell } from "./seen.mjs";

const tools = [{ name: "bash", input_schema: schema }];
const thinking = { type: "enabled", budget_tokens: 1024 };

const client = new Anthropic({ baseURL, apiKey: "key", maxRetries: 0, timeout: 20_000 });

const asking = (words) => ({
  model: "claude-opus-4-7",
  max_tokens: 4096,
  messages: [{ role: "user", content: words }],
});

const seen = (message, events = []) => ({
  text: message.content.filter((block) => block.type === "text").map((block) => block.text).join(""),
  calls: message.content.filter((block) => block.type === "tool_use").map((block) => [block.name, block.input]),
  finish: message.stop_reason,
  object: message,
  events,
});

async function streamed(body) {
  const stream = client.messages.stream(body);
  const events = [];
  stream.on("streamEvent", (event) => events.push(structuredClone(event)));
  return seen(await stream.finalMessage(), events);
}

const exchanges = {
  "whole": async () => seen(await client.messages.create(asking("Hello"))),
  "stream": async () => streamed(asking("Hello")),
  "tools": async () => seen(await client.messages.create({ ...asking("Tidy up"), tools, thinking })),
  "tools-stream": async () => streamed({ ...asking("Tidy up"), tools, thinking }),
  "forbidden": async () => seen(await client.messages.create(asking("Where are the bananas?"))),
};

await tell(exchanges, (error) => {
  if (!(error instanceof Anthropic.APIError)) return null;
  const { status, type, error: body } = error;
  return { status, type, message: body.error.message };
});
