// The official OpenAI client for Node, as an application uses it: `node chat.mjs BASE_URL EXCHANGE...`.
//
// Each exchange is one of those below. What the application sees of each is printed as one JSON list: the objects of
// the SDK, or the class and fields of the error that it throws, and beside them the bytes that came over the wire.

import OpenAI from "openai";

const [baseURL, ...wanted] = process.argv.slice(2);

const tools = [
  {
    type: "function",
    function: {
      name: "bash",
      parameters: { type: "object", properties: { command: { type: "string" } }, required: ["command"] },
    },
  },
];

let wire = [];

// Hands the answer on as it comes, and keeps a copy: what the SDK leaves out of its objects counts too.
async function listening(url, init) {
  const response = await fetch(url, init);
  const [heard, kept] = response.body.tee();
  wire.push(new Response(kept).text());
  return new Response(heard, { status: response.status, statusText: response.statusText, headers: response.headers });
}

const client = new OpenAI({ baseURL, apiKey: "key", fetch: listening, maxRetries: 0, timeout: 20_000 });

const asking = (words) => ({ model: "gpt-4o", messages: [{ role: "user", content: words }] });

const exchanges = {
  "whole": async () => client.chat.completions.create(asking("Hello")),
  "stream": async () => streamed(asking("Hello")),
  "tools": async () => client.chat.completions.create({ ...asking("Tidy up"), tools }),
  "tools-stream": async () => streamed({ ...asking("Tidy up"), tools }),
  "forbidden": async () => client.chat.completions.create(asking("Where are the bananas?")),
};

// The chunks one by one, and the message that the SDK itself builds of them.
async function streamed(body) {
  const stream = client.chat.completions.stream({ ...body, stream_options: { include_usage: true } });
  const chunks = [];
  stream.on("chunk", (chunk) => chunks.push(chunk));
  return { final: await stream.finalChatCompletion(), chunks };
}

async function seen(name) {
  wire = [];
  let outcome;
  try {
    outcome = { answer: await exchanges[name]() };
  } catch (error) {
    if (!(error instanceof OpenAI.APIError)) throw error;
    const { status, code, type, param, message } = error;
    outcome = { error: { class: error.constructor.name, status, code, type, param, message } };
  }
  return { exchange: name, ...outcome, wire: await Promise.all(wire) };
}

const all = [];
for (const name of wanted) all.push(await seen(name));
console.log(JSON.stringify(all));
