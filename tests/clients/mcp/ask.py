"""Asks an MCP server through the official SDK: calls from standard input, answers to standard output, both JSON.

ask.py MODE http URL [TOKEN]
ask.py MODE stdio PROGRAM ARGUMENT...

MODE is auto (the protocol since 2026-07-28) or legacy (with initialize). A call is {"tool": …, "arguments": …}.
"""

import asyncio
import json
import sys

import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError


def target(kind, arguments):
    if kind == "stdio":
        return StdioServerParameters(command=arguments[0], args=arguments[1:])
    headers = {"Authorization": f"Bearer {arguments[1]}"} if len(arguments) > 1 else {}
    return streamable_http_client(arguments[0], http_client=httpx2.AsyncClient(headers=headers, timeout=120))


async def one(client, call):
    try:
        result = await client.call_tool(call["tool"], call["arguments"])
    except MCPError as error:
        return {"refused": str(error)}
    text = "".join(block.text for block in result.content)
    return {"is_error": bool(result.is_error), "text": text, "structured": result.structured_content}


async def main(mode, kind, arguments):
    calls = json.load(sys.stdin)
    async with Client(target(kind, arguments), mode=mode, read_timeout_seconds=120) as client:
        tools = (await client.list_tools()).tools
        answer = {
            "server": client.server_info.name,
            "protocol": client.protocol_version,
            "instructions": client.instructions,
            "tools": [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in tools],
            "results": [await one(client, call) for call in calls],
        }
    json.dump(answer, sys.stdout)


asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
