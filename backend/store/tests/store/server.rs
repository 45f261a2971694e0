//! A real S3-compatible server that can be told to fail.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, StatusCode, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use s3s::{auth::SimpleAuth, service::S3ServiceBuilder};
use tokio::net::TcpListener;

/// How requests fare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fault {
    /// They are served.
    #[default]
    None,
    /// 503 SlowDown.
    SlowDown,
    /// The connection is cut before an answer.
    Reset,
    /// Writes are done, and then the connection is cut.
    CutAfterWrite,
}

pub(crate) struct Server {
    pub(crate) endpoint: String,
    fault: Arc<Mutex<Fault>>,
    refused: Arc<Mutex<u64>>,
}

impl Server {
    /// Starts a server that keeps its objects in `root`; the bucket is `bucket`.
    pub(crate) async fn start(root: &Path) -> Self {
        std::fs::create_dir_all(root.join("bucket")).unwrap();
        let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(root).unwrap());
        builder.set_auth(SimpleAuth::from_single("key", "secret"));
        let service = builder.build();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let fault = Arc::new(Mutex::new(Fault::None));
        let refused = Arc::new(Mutex::new(0));
        let server = Self { endpoint, fault: Arc::clone(&fault), refused: Arc::clone(&refused) };
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let (service, fault, refused) = (service.clone(), Arc::clone(&fault), Arc::clone(&refused));
                tokio::spawn(async move {
                    let serve = service_fn(move |request: Request<Incoming>| {
                        let (service, fault, refused) = (service.clone(), *fault.lock().unwrap(), Arc::clone(&refused));
                        async move {
                            if fault != Fault::None {
                                *refused.lock().unwrap() += 1;
                            }
                            let write = request.method() != "GET" && request.method() != "HEAD";
                            match fault {
                                Fault::SlowDown => {
                                    let mut answer = Response::new(Full::default().map_err(|e| match e {}).boxed());
                                    *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                                    Ok(answer)
                                }
                                Fault::Reset => Err("cut"),
                                Fault::None | Fault::CutAfterWrite => {
                                    let answer =
                                        service.call(request.map(s3s::Body::from)).await.map_err(|_error| "server")?;
                                    if fault == Fault::CutAfterWrite && write {
                                        return Err("cut");
                                    }
                                    let (parts, body) = answer.into_parts();
                                    let body = body.collect().await.map_err(|_error| "body")?.to_bytes();
                                    let body = Full::new(body).map_err(|e| match e {}).boxed();
                                    Ok::<_, &'static str>(Response::from_parts(parts, body))
                                }
                            }
                        }
                    });
                    // Fails where a fault cuts the connection.
                    drop(Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), serve).await);
                });
            }
        });
        server
    }

    pub(crate) fn fail(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }

    /// How many requests met a fault.
    pub(crate) fn refused(&self) -> u64 {
        *self.refused.lock().unwrap()
    }
}
