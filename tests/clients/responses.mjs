// Responses with OpenAI's client for Node, as an application uses it: `node responses.mjs BASE_URL EXCHANGE...`.

import OpenAI from "openai";
import { baseURL, schema, tell } from "./seen.mjs";

const tools = [{ type: "function", name: "bash", parameters: { ...schema, additionalProperties: false }, strict: true }];

const client = new OpenAI({ baseURL, apiKey: "key", maxRetries: 0, timeout: 20_000 });

const asking = (input) => ({ model: "gpt-5", input });

const seen = (response, events = []) => ({
  text: response.output_text,
  calls: response.output
    .filter((item) => item.type === "function_call")
    .map((item) => [item.name, JSON.parse(item.arguments)]),
  finish: response.status,
  object: response,
  events,
});

async function streamed(body) {
  const stream = client.responses.stream(body);
  const events = [];
  stream.on("event", (event) => events.push(event));
  return seen(await stream.finalResponse(), events);
}

const exchanges = {
  "whole": async () => seen(await client.responses.create(asking("Hello"))),
  "stream": async () => streamed(asking("Hello")),
  "tools": async () => seen(await client.responses.create({ ...asking("Tidy up"), tools })),
  "tools-stream": async () => streamed({ ...asking("Tidy up"), tools }),
  "forbidden": async () => seen(await client.responses.create(asking("Where are the bananas?"))),
};

await tell(exchanges, (error) => {
  if (!(error instanceof OpenAI.APIError)) return null;
  const { status, code, type, param, message } = error;
  return { status, code, type, param, message };
});
