//! Certificates, keys and revocation lists, as they stand in files: PEM, bounded, with errors that name the file.

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
};

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, pem::PemObject},
};

/// Bytes of a file of certificates; the roots of a whole system are a quarter of it.
const FILE_BYTES: u64 = 1 << 20;

/// Why certificates or keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read.
    #[error("{path}: {error}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The file holds something else.
    #[error("{path}: {reason}")]
    Content {
        /// Which.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// This machine trusts nobody.
    #[error("this machine has no root certificates ({0}); install ca-certificates, or name a file of your own")]
    NoRoots(String),
    /// rustls refuses.
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
}

impl TlsError {
    pub(super) fn content(path: &Path, reason: impl Into<String>) -> Self {
        TlsError::Content { path: path.to_owned(), reason: reason.into() }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |error| TlsError::Read { path: path.to_owned(), error };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(FILE_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > FILE_BYTES {
        return Err(TlsError::content(path, format!("is larger than {FILE_BYTES} bytes, which no certificates are")));
    }
    Ok(bytes)
}

pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let found = found.map_err(|error| TlsError::content(path, format!("is no PEM: {error}")))?;
    if found.is_empty() {
        let reason = "holds no certificate; it has to be PEM, with the line -----BEGIN CERTIFICATE-----";
        return Err(TlsError::content(path, reason));
    }
    Ok(found)
}

/// The certificates of the file, as those that vouch for others.
pub(super) fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| TlsError::content(path, error.to_string()))?;
    }
    Ok(roots)
}

pub(super) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let bytes = read(path)?;
    let key = PrivateKeyDer::from_pem_slice(&bytes).map_err(|_none_or_broken| {
        let encrypted = bytes.windows(9).any(|part| part == b"ENCRYPTED");
        let reason = if encrypted {
            "the key is encrypted, and nobody is there to type its password; decrypt it: openssl pkey -in OLD -out NEW"
        } else {
            "holds no private key; it has to be PEM, with the line -----BEGIN PRIVATE KEY-----"
        };
        TlsError::content(path, reason)
    })?;
    Ok(key)
}

pub(super) fn revocations(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let bytes = read(path)?;
    let found: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&bytes).collect();
    let found = found.map_err(|error| TlsError::content(path, format!("is no PEM: {error}")))?;
    if found.is_empty() {
        let reason = "holds no revocation list; it has to be PEM, with the line -----BEGIN X509 CRL-----";
        return Err(TlsError::content(path, reason));
    }
    Ok(found)
}

/// An error about a certificate and its key: the key's fault where it belongs to another one.
pub(super) fn unfit(cert: &Path, key: &Path) -> impl FnOnce(rustls::Error) -> TlsError {
    move |error| match error {
        rustls::Error::InconsistentKeys(_) => {
            let first = cert.display();
            TlsError::content(key, format!("is not the key of the first certificate in {first}; one's own comes first"))
        }
        other => TlsError::content(cert, other.to_string()),
    }
}
