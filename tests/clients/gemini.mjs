// Google's GenAI client for Node, as an application uses it: `node gemini.mjs BASE_URL EXCHANGE...`.

import { ApiError, GoogleGenAI } from "@google/genai";
import { baseURL, schema, tell } from "./seen.mjs";

const config = { tools: [{ functionDeclarations: [{ name: "bash", parametersJsonSchema: schema }] }] };

const client = new GoogleGenAI({ apiKey: "key", httpOptions: { baseUrl: baseURL, timeout: 20_000 } });

const asking = (words) => ({ model: "gemini-2.5-flash", contents: words });

// Without the HTTP response, whose headers are the proxy's own.
function seen(answers) {
  const calls = answers.flatMap((answer) => answer.functionCalls ?? []);
  return {
    text: answers.flatMap((answer) => answer.candidates?.[0]?.content?.parts ?? [])
      .filter((part) => part.text && !part.thought)
      .map((part) => part.text)
      .join(""),
    calls: calls.map((call) => [call.name, call.args]),
    finish: answers.at(-1).candidates?.[0]?.finishReason,
    object: answers.map(({ sdkHttpResponse, ...rest }) => rest),
    events: [],
  };
}

async function streamed(body) {
  const answers = [];
  for await (const answer of await client.models.generateContentStream(body)) answers.push(answer);
  return seen(answers);
}

const exchanges = {
  "whole": async () => seen([await client.models.generateContent(asking("Hello"))]),
  "stream": async () => streamed(asking("Hello")),
  "tools": async () => seen([await client.models.generateContent({ ...asking("Tidy up"), config })]),
  "tools-stream": async () => streamed({ ...asking("Tidy up"), config }),
  "forbidden": async () => seen([await client.models.generateContent(asking("Where are the bananas?"))]),
};

await tell(exchanges, (error) => {
  if (!(error instanceof ApiError)) return null;
  return { status: error.status, message: JSON.parse(error.message).error.message };
});
