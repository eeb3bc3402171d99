// What the page asks the server, by the same HTTP interface that programs use.

import { text } from "./texts.js";

/** An answer of the server that is an error: its message is the one line with the cure. */
export class ServerError extends Error {}

const address = (path) => new URL(`../${path}`, import.meta.url);

async function request(path, body, signal) {
  const options = body === undefined ? {} : post(body);
  let response;
  try {
    response = await fetch(address(path), { ...options, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError(text("error.unreachable"));
  }
  if (!response.ok) throw new ServerError(await reason(response));
  return response;
}

function post(body) {
  return { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
}

async function reason(response) {
  try {
    const { error } = await response.json();
    if (typeof error === "string") return error;
  } catch {
    // Not JSON: the status says what is known.
  }
  return text("error.status", { status: response.status });
}

export const models = async () => (await (await request("models")).json()).models;

export async function predict(body, signal) {
  const response = await request("predict", body, signal);
  return (await response.json()).answers[0];
}

export async function explain(body, signal) {
  const response = await request("explain", body, signal);
  return (await response.json()).explanation;
}

/** Call `write` with each piece of a text while it is generated. */
export async function stream(body, signal, write) {
  const response = await request("stream", body, signal);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new ServerError(text("error.broken"));
    waiting += value;
    const events = waiting.split(/\r?\n\r?\n/);
    waiting = events.pop();
    for (const event of events) {
      const { kind, data } = parsed(event);
      if (kind === "end") return;
      if (kind === "error") throw new ServerError(data.error);
      if (data !== null) write(data.text);
    }
  }
}

function parsed(event) {
  let kind = "message";
  const data = [];
  for (const line of event.split(/\r?\n/)) {
    if (line.startsWith("event:")) kind = line.slice(6).trim();
    if (line.startsWith("data:")) data.push(line.slice(5));
  }
  return { kind, data: data.length ? JSON.parse(data.join("\n")) : null };
}
