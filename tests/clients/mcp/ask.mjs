// Asks an MCP server through the official SDK: calls from standard input, answers to standard output, both JSON.
//
// ask.mjs http URL [TOKEN]
// ask.mjs stdio PROGRAM ARGUMENT...
//
// A call is {"tool": …, "arguments": …}.
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { McpError } from "@modelcontextprotocol/sdk/types.js";

const [kind, target, ...rest] = process.argv.slice(2);
const headers = rest[0] ? { Authorization: `Bearer ${rest[0]}` } : {};
const transport =
  kind === "stdio"
    ? new StdioClientTransport({ command: target, args: rest })
    : new StreamableHTTPClientTransport(new URL(target), { requestInit: { headers } });

let input = "";
for await (const part of process.stdin) input += part;

const client = new Client({ name: "test", version: "1.0.0" });
await client.connect(transport);
const { tools } = await client.listTools();
const results = [];
for (const { tool, arguments: given } of JSON.parse(input)) {
  try {
    const result = await client.callTool({ name: tool, arguments: given }, undefined, { timeout: 120_000 });
    const text = result.content.map((block) => block.text).join("");
    results.push({ is_error: result.isError === true, text, structured: result.structuredContent ?? null });
  } catch (error) {
    if (!(error instanceof McpError)) throw error;
    results.push({ refused: error.message });
  }
}
const answer = {
  server: client.getServerVersion().name,
  protocol: transport.protocolVersion ?? null,
  instructions: client.getInstructions(),
  tools,
  results,
};
await client.close();
process.stdout.write(JSON.stringify(answer));
