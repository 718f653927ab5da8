// What an application sees of exchanges with a model: for each the objects of the SDK, or the error that it throws, and
// beside them the bytes that came over the wire. Printed as one JSON list.

export const schema = { type: "object", properties: { command: { type: "string" } }, required: ["command"] };
export const [baseURL, ...wanted] = process.argv.slice(2);

let wire = [];

// Hands the answer on as it comes, and keeps a copy: what the SDK leaves out of its objects counts too.
async function listening(url, init) {
  const response = await straight(url, init);
  if (response.body === null) return response;
  const [heard, kept] = response.body.tee();
  wire.push(new Response(kept).text());
  return new Response(heard, { status: response.status, statusText: response.statusText, headers: response.headers });
}

const straight = globalThis.fetch;
globalThis.fetch = listening;

// `exchanges` are functions by name; `described` makes an object of an error of the SDK, and null of any other.
export async function tell(exchanges, described) {
  const all = [];
  for (const name of wanted) {
    wire = [];
    let outcome;
    try {
      outcome = { answer: await exchanges[name]() };
    } catch (error) {
      const said = described(error);
      if (said === null) throw error;
      outcome = { error: { class: error.constructor.name, ...said } };
    }
    all.push({ exchange: name, ...outcome, wire: await Promise.all(wire) });
  }
  console.log(JSON.stringify(all));
}
