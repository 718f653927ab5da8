// Chat completions with OpenAI's client for Node, as an application uses it: `node chat.mjs BASE_URL EXCHANGE...`.

import OpenAI from "openai";
import { baseURL, schema, tell } from "./seen.mjs";

const tools = [{ type: "function", function: { name: "bash", parameters: schema } }];

const client = new OpenAI({ baseURL, apiKey: "key", maxRetries: 0, timeout: 20_000 });

const asking = (words) => ({ model: "gpt-4o", messages: [{ role: "user", content: words }] });

// The chunks one by one, and the message that the SDK itself builds of them.
async function streamed(body) {
  const stream = client.chat.completions.stream({ ...body, stream_options: { include_usage: true } });
  const chunks = [];
  stream.on("chunk", (chunk) => chunks.push(chunk));
  return { final: await stream.finalChatCompletion(), chunks };
}

const exchanges = {
  "whole": async () => client.chat.completions.create(asking("Hello")),
  "stream": async () => streamed(asking("Hello")),
  "tools": async () => client.chat.completions.create({ ...asking("Tidy up"), tools }),
  "tools-stream": async () => streamed({ ...asking("Tidy up"), tools }),
  "forbidden": async () => client.chat.completions.create(asking("Where are the bananas?")),
};

await tell(exchanges, (error) => {
  if (!(error instanceof OpenAI.APIError)) return null;
  const { status, code, type, param, message } = error;
  return { status, code, type, param, message };
});
