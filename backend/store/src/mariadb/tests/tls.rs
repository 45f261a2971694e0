//! A server that takes connections by TLS alone.

use devmesh_schema::Signal;

use super::{block, read_all, records, server::Server, shop, store};
use crate::{Error, Scan, database::Seen};

/// A certificate for 127.0.0.1, signed by an authority of its own: files of authority, certificate and key.
fn certificates(directory: &std::path::Path) -> [String; 3] {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = params.self_signed(&authority_key).unwrap();
    let issuer = rcgen::Issuer::new(params, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate =
        rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    [("ca.pem", authority.pem()), ("cert.pem", certificate.pem()), ("key.pem", key.serialize_pem())].map(
        |(name, pem)| {
            let file = directory.join(name);
            std::fs::write(&file, pem).unwrap();
            file.to_str().unwrap().to_owned()
        },
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_wants_tls_gets_it_and_has_to_show_a_certificate_that_is_trusted() {
    let directory = tempfile::tempdir().unwrap();
    let [authority, certificate, key] = certificates(directory.path());
    let arguments =
        [format!("--ssl-cert={certificate}"), format!("--ssl-key={key}"), "--require-secure-transport=ON".to_owned()];
    let server = Server::new(&arguments.each_ref().map(String::as_str));
    let url = server.url(&server.database());

    // In the clear, which is what loopback gets unasked, the server says no and the error says what to do.
    let error = store(&url).await.ready().await.unwrap_err();
    assert!(matches!(error, Error::Database(_)) && error.to_string().contains("ssl-mode=required"), "{error}");
    // Nobody whom this machine trusts has signed the certificate.
    let error = store(&format!("{url}?ssl-mode=verify_identity")).await.ready().await.unwrap_err();
    assert!(matches!(error, Error::Database(_)) && error.to_string().contains("ssl-ca"), "{error}");
    // It is for the address, and for no name.
    let named = url.replace("127.0.0.1", "localhost");
    let error = store(&format!("{named}?ssl-ca={authority}")).await.ready().await.unwrap_err();
    assert!(matches!(error, Error::Database(_)) && error.to_string().contains("TLS"), "{error}");

    for options in
        ["ssl-mode=required", &format!("ssl-ca={authority}"), &format!("ssl-ca={authority}&ssl-mode=verify_ca")]
    {
        let database = store(&format!("{url}?{options}")).await;
        database.ready().await.unwrap_or_else(|error| panic!("{options}: {error}"));
        database.close().await;
    }
    let database = store(&format!("{url}?ssl-ca={authority}")).await;
    database.ready().await.unwrap();
    let sent = shop(Signal::Logs, 1, 500);
    database.insert(&block("w", Signal::Logs, 1, &sent)).await.unwrap();
    let seen = Seen { writer: "w".into(), last: 1, idle: None };
    let kept = read_all(database.scan(&Scan::all(Signal::Logs), &seen).await.unwrap()).await;
    assert_eq!(records(Signal::Logs, &kept), records(Signal::Logs, &sent));
    database.close().await;
}
