//! The Postgres wire protocol on port 5433: `psql`, drivers and dashboards ask in SQL. Read-only.
//!
//! Queries go to the engine as they are, with its limits. What sets up a session (`SET`, `BEGIN`, `COMMIT`) is accepted
//! and does nothing; what psql asks about tables is answered by [`catalog`].

mod bind;
mod catalog;
mod connection;
mod encode;
mod error;
mod scan;
mod session;

use std::{collections::HashMap, fmt::Debug, sync::Arc};

use async_trait::async_trait;
use devmesh_collector::tls::Tls;
use futures::{Sink, SinkExt};
use pgwire::{
    api::{
        ClientInfo, ConnectionManager, METADATA_USER, PgWireConnectionState, PgWireServerHandlers,
        PidSecretKeyGenerator, RandomPidSecretKeyGenerator,
        auth::{
            ServerParameterProvider, StartupHandler, finish_authentication, protocol_negotiation,
            save_startup_parameters_to_metadata,
        },
        cancel::{CancelHandler, DefaultCancelHandler},
        query::{ExtendedQueryHandler, SimpleQueryHandler},
    },
    error::{ErrorInfo, PgWireError, PgWireResult},
    messages::{PgWireBackendMessage, PgWireFrontendMessage, startup::Authentication},
};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet};
use tokio_util::sync::CancellationToken;

use self::session::Session;
use crate::{
    access::{Access, Scope},
    api::Queries,
};

/// How long the accept loop rests after an error of the machine (no file descriptors left, say).
const ACCEPT_PAUSE: std::time::Duration = std::time::Duration::from_millis(50);

/// Serves until `stop`, over TLS alone where there is a certificate; queries under way are then dropped, their clients see
/// the connection end.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    queries: Arc<Queries>,
    access: Access,
    connections: usize,
    stop: CancellationToken,
) {
    let manager = Arc::new(ConnectionManager::new());
    let handlers = Arc::new(Handlers {
        session: Arc::new(Session::new(queries)),
        startup: Arc::new(Startup {
            access,
            secured: tls.is_some(),
            manager: Arc::clone(&manager),
            keys: RandomPidSecretKeyGenerator::default(),
        }),
        cancel: Arc::new(DefaultCancelHandler::new(manager)),
    });
    let slots = Arc::new(Semaphore::new(connections));
    let mut tasks = JoinSet::new();
    loop {
        while tasks.try_join_next().is_some() {}
        let Some(Ok(slot)) = stop.run_until_cancelled(Arc::clone(&slots).acquire_owned()).await else { break };
        let Some(accepted) = stop.run_until_cancelled(listener.accept()).await else { break };
        match accepted {
            Ok((stream, peer)) => {
                let (handlers, tls) = (Arc::clone(&handlers), tls.clone());
                tasks.spawn(async move {
                    if let Err(error) = connection::serve(stream, tls.as_ref(), &handlers).await {
                        tracing::debug!(%peer, %error, "a Postgres connection ended");
                    }
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a Postgres connection, trying again");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    tasks.shutdown().await;
}

struct Handlers {
    session: Arc<Session>,
    startup: Arc<Startup>,
    cancel: Arc<DefaultCancelHandler>,
}

impl PgWireServerHandlers for Handlers {
    fn simple_query_handler(&self) -> Arc<impl SimpleQueryHandler> {
        Arc::clone(&self.session)
    }

    fn extended_query_handler(&self) -> Arc<impl ExtendedQueryHandler> {
        Arc::clone(&self.session)
    }

    fn startup_handler(&self) -> Arc<impl StartupHandler> {
        Arc::clone(&self.startup)
    }

    fn cancel_handler(&self) -> Arc<impl CancelHandler> {
        Arc::clone(&self.cancel)
    }
}

/// The beginning of a connection: any user and database will do; where reading needs a token, it is the password.
struct Startup {
    access: Access,
    /// Whether nobody is let in who speaks in the clear.
    secured: bool,
    manager: Arc<ConnectionManager>,
    keys: RandomPidSecretKeyGenerator,
}

impl ServerParameterProvider for Startup {
    fn server_parameters<C: ClientInfo>(&self, client: &C) -> Option<HashMap<String, String>> {
        let reported =
            |name: &&(&str, &str)| !["server_version_num", "search_path", "max_identifier_length"].contains(&name.0);
        let name = |name: &str| match name {
            "datestyle" => "DateStyle".to_owned(),
            "intervalstyle" => "IntervalStyle".to_owned(),
            "timezone" => "TimeZone".to_owned(),
            name => name.to_owned(),
        };
        let mut parameters: HashMap<String, String> =
            catalog::PARAMETERS.iter().filter(reported).map(|(key, value)| (name(key), (*value).to_owned())).collect();
        parameters.insert("integer_datetimes".into(), "on".into());
        parameters.insert("is_superuser".into(), "off".into());
        if let Some(user) = client.metadata().get(METADATA_USER) {
            parameters.insert("session_authorization".into(), user.clone());
        }
        Some(parameters)
    }
}

impl Startup {
    async fn welcome<C>(&self, client: &mut C) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let (pid, key) = self.keys.generate(client);
        client.set_pid_and_secret_key(pid, key.clone());
        let (handle, guard) = self.manager.register(pid, key);
        client.session_extensions().insert(handle);
        client.session_extensions().insert(guard);
        finish_authentication(client, self).await
    }
}

#[async_trait]
impl StartupHandler for Startup {
    async fn on_startup<C>(&self, client: &mut C, message: PgWireFrontendMessage) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        match message {
            PgWireFrontendMessage::Startup(_) if self.secured && !client.is_secure() => {
                let text = "this server speaks TLS alone: connect with sslmode=verify-full and sslrootcert".to_owned();
                Err(PgWireError::UserError(Box::new(ErrorInfo::new("FATAL".into(), "28000".into(), text))))
            }
            PgWireFrontendMessage::Startup(startup) => {
                protocol_negotiation(client, &startup).await?;
                save_startup_parameters_to_metadata(client, &startup);
                if self.access.is_open(Scope::Read) {
                    return self.welcome(client).await;
                }
                client.set_state(PgWireConnectionState::AuthenticationInProgress);
                client.send(PgWireBackendMessage::Authentication(Authentication::CleartextPassword)).await?;
                Ok(())
            }
            PgWireFrontendMessage::PasswordMessageFamily(message) => {
                let password = message.into_password()?;
                let peer = Some(client.socket_addr().ip());
                if self.access.check_token(Scope::Read, &password.password, peer).is_ok() {
                    return self.welcome(client).await;
                }
                let text = "a read token is needed as the password".to_owned();
                Err(PgWireError::UserError(Box::new(ErrorInfo::new("FATAL".into(), "28P01".into(), text))))
            }
            _ => Ok(()),
        }
    }
}
