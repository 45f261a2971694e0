//! `devmesh mcp`: the Model Context Protocol over standard input and output, for clients that start their servers themselves. It keeps
//! nothing and asks a running server.

use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use rmcp::ServiceExt;
use serde_json::Value;

use super::{
    Failure,
    client::{self, Server, ServerArgs},
};
use crate::mcp::{Api, Call, Mcp};

#[derive(Debug, Args)]
pub(crate) struct McpArgs {
    #[command(flatten)]
    server: ServerArgs,
}

/// A server that is asked over HTTP.
#[derive(Clone)]
struct There(Arc<Server>);

impl Api for There {
    async fn call(&self, call: Call) -> Result<Value, String> {
        let asked = async {
            let answer = self.0.ask(call.method, &call.path, "application/json", call.body).await?;
            Ok::<_, anyhow::Error>(serde_json::from_slice(&client::whole(answer).await?)?)
        };
        asked.await.map_err(|error| format!("{error:#}"))
    }
}

/// Answers until the client closes standard input.
pub(super) async fn run(args: McpArgs) -> Result<(), Failure> {
    let server = Arc::new(args.server.server()?);
    let streams = (tokio::io::stdin(), tokio::io::stdout());
    let running = Mcp::new(There(server)).serve(streams).await;
    let running = running.context(
        "no client of the Model Context Protocol speaks at standard input; it is started by such a client, see docs/mcp.md",
    )?;
    running.waiting().await.context("the conversation broke off")?;
    Ok(())
}
