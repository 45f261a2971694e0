//! How a client of a server is set up: where it is, who asks, and whether by TLS.
//!
//! | option of the URL | says |
//! |---|---|
//! | `ssl-mode` | `disabled`, `preferred`, `required`, `verify_ca`, `verify_identity`, as of MariaDB's own programs |
//! | `ssl-ca` | file of the authorities that are trusted besides this machine's own, PEM |
//! | `ssl-cert`, `ssl-key` | files of the certificate and key that the server wants of its clients, PEM |
//!
//! Without `ssl-mode`, `ssl-ca` means `verify_identity`: whoever names an authority wants it to be asked. Else TLS is used
//! where the server has it, without a look at its certificate, but not on loopback, where it would cost and hide nothing.
//!
//! # How it fails
//! A file that cannot be read is found when the store is opened. A server that is refused for its certificate, or has no
//! TLS, stays refused: [`refusal`] tells it from one that is away.

use std::path::Path;

use rustls::pki_types::{CertificateDer, pem::PemObject};
use sqlx::{
    ConnectOptions,
    mysql::{MySqlConnectOptions, MySqlSslMode},
};

use crate::{Error, external::address::Address};

const MODE: &str = "ssl-mode";
const AUTHORITIES: &str = "ssl-ca";
const CERTIFICATE: &str = "ssl-cert";
const KEY: &str = "ssl-key";
const OPTIONS: [&str; 4] = [MODE, AUTHORITIES, CERTIFICATE, KEY];

/// The options of every connection to a server; without a database.
///
/// # Errors
/// The URL has an option that is unknown, or names a file that cannot be read.
pub(crate) fn options(address: &Address) -> Result<MySqlConnectOptions, Error> {
    if let Some((option, _)) = address.options.iter().find(|(name, _)| !OPTIONS.contains(&name.as_str())) {
        let known = OPTIONS.join(", ");
        return Err(Error::Url(format!("{address}: option `{option}` is unknown; a MariaDB's URL takes {known}")));
    }
    let mut options = MySqlConnectOptions::new()
        .host(&address.host)
        .port(address.port)
        .ssl_mode(mode(address)?)
        .charset("utf8mb4")
        .disable_statement_logging();
    if !address.user.is_empty() {
        options = options.username(&address.user);
    }
    if !address.password.0.is_empty() {
        options = options.password(&address.password.0);
    }
    if let Some(file) = address.option(AUTHORITIES) {
        options = options.ssl_ca_from_pem(certificates(address, AUTHORITIES, file)?);
    }
    match (address.option(CERTIFICATE), address.option(KEY)) {
        (None, None) => {}
        (Some(certificate), Some(key)) => {
            options = options.ssl_client_cert_from_pem(certificates(address, CERTIFICATE, certificate)?);
            options = options.ssl_client_key_from_pem(read(address, KEY, key)?);
        }
        _ => return Err(Error::Url(format!("{address}: {CERTIFICATE} and {KEY} go together; name both"))),
    }
    Ok(options)
}

fn mode(address: &Address) -> Result<MySqlSslMode, Error> {
    let Some(mode) = address.option(MODE) else {
        let is_here = address.host == "localhost"
            || address.host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        return Ok(match address.option(AUTHORITIES) {
            Some(_) => MySqlSslMode::VerifyIdentity,
            None if is_here => MySqlSslMode::Disabled,
            None => MySqlSslMode::Preferred,
        });
    };
    match mode.to_ascii_lowercase().replace('-', "_").as_str() {
        "disabled" => Ok(MySqlSslMode::Disabled),
        "preferred" => Ok(MySqlSslMode::Preferred),
        "required" => Ok(MySqlSslMode::Required),
        "verify_ca" => Ok(MySqlSslMode::VerifyCa),
        "verify_identity" => Ok(MySqlSslMode::VerifyIdentity),
        _ => Err(Error::Url(format!(
            "{address}: {MODE}={mode} is unknown; write disabled, preferred, required, verify_ca or verify_identity"
        ))),
    }
}

fn read(address: &Address, option: &str, file: &str) -> Result<Vec<u8>, Error> {
    std::fs::read(Path::new(file))
        .map_err(|error| Error::Url(format!("{address}: {option}={file} cannot be read: {error}; name a file of PEM")))
}

/// The bytes of a file that has certificates.
fn certificates(address: &Address, option: &str, file: &str) -> Result<Vec<u8>, Error> {
    let bytes = read(address, option, file)?;
    let certificates = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
    let wrong =
        |what: &str| Error::Url(format!("{address}: {option}={file}: {what}; name a file of certificates, PEM"));
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err(wrong("it has no certificate")),
        Ok(_) => Ok(bytes),
        Err(error) => Err(wrong(&error.to_string())),
    }
}

/// Why no connection by TLS came about, where that is the reason; somebody has to change something.
pub(crate) fn refusal(error: &sqlx::Error) -> Option<String> {
    let why = match error {
        sqlx::Error::Tls(why) => why.to_string(),
        sqlx::Error::Io(error) => error.get_ref()?.downcast_ref::<rustls::Error>()?.to_string(),
        _ => return None,
    };
    Some(format!("no connection by TLS: {why}; check {MODE} and {AUTHORITIES} of the store's URL"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(url: &str) -> Result<MySqlConnectOptions, Error> {
        options(&Address::parse(&url::Url::parse(url).unwrap(), 3306, "devmesh").unwrap())
    }

    #[test]
    fn tls_is_used_as_the_url_says_and_without_a_word_where_it_hides_something() {
        let directory = tempfile::tempdir().unwrap();
        let (file, empty) = (directory.path().join("ca.pem"), directory.path().join("none.pem"));
        let made = rcgen::generate_simple_self_signed(["db".to_owned()]).unwrap();
        std::fs::write(&file, made.cert.pem()).unwrap();
        std::fs::write(&empty, "").unwrap();
        let (file, empty) = (file.display(), empty.display());
        for (url, expected) in [
            ("mariadb://db".to_owned(), "Preferred"),
            ("mariadb://127.0.0.1".to_owned(), "Disabled"),
            ("mariadb://[::1]/x".to_owned(), "Disabled"),
            ("mariadb://localhost/x?ssl-mode=REQUIRED".to_owned(), "Required"),
            ("mariadb://db?ssl-mode=verify-ca".to_owned(), "VerifyCa"),
            (format!("mariadb://localhost?ssl-ca={file}"), "VerifyIdentity"),
            (format!("mariadb://db?ssl-ca={file}&ssl-mode=verify_ca"), "VerifyCa"),
        ] {
            assert_eq!(format!("{:?}", parsed(&url).unwrap().get_ssl_mode()), expected, "{url}");
        }
        for (url, expected) in [
            ("mariadb://u:hunter2@db?sslmode=required".to_owned(), "`sslmode` is unknown"),
            ("mariadb://u:hunter2@db?ssl-mode=on".to_owned(), "verify_identity"),
            ("mariadb://u:hunter2@db?ssl-ca=/none/here".to_owned(), "cannot be read"),
            (format!("mariadb://u:hunter2@db?ssl-ca={empty}"), "no certificate"),
            (format!("mariadb://u:hunter2@db?ssl-cert={file}"), "name both"),
        ] {
            let error = parsed(&url).unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains("hunter2"), "{url}: {error}");
        }
    }
}
