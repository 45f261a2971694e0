//! Which clients a door believes by their certificate (S39): those for whom a certificate of `client_ca` vouches, that
//! nobody has revoked and, where names are listed, that have one of these names.
//!
//! A name is one of the certificate's subject alternative names, a whole DNS name or URI, never a part of one, a pattern or
//! the common name.

use std::{path::PathBuf, sync::Arc};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    pki_types::{CertificateDer, UnixTime},
    server::{
        VerifierBuilderError, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use webpki::EndEntityCert;

use super::{
    files::{self, TlsError},
    provider,
};

/// Whose certificates a door takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clients {
    /// The certificates that vouch for clients, PEM. Empty: no client shows one.
    pub ca: PathBuf,
    /// Certificates that are not taken any more: revocation lists of those in `ca`, PEM. Empty: none.
    pub crl: PathBuf,
    /// The clients' names. Empty: all that `ca` vouches for.
    pub names: Vec<String>,
}

impl Clients {
    /// Whoever decides about clients; `None` where none shows a certificate.
    pub(super) fn verifier(&self) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
        if self.ca.as_os_str().is_empty() {
            return Ok(None);
        }
        let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(files::roots(&self.ca)?), provider());
        if !self.crl.as_os_str().is_empty() {
            // Of the certificates between a client's and the CA there need be no list.
            builder = builder.with_crls(files::revocations(&self.crl)?).only_check_end_entity_revocation();
        }
        let inner = builder.build().map_err(|error| match error {
            VerifierBuilderError::InvalidCrl(error) => TlsError::content(&self.crl, format!("is of no use: {error:?}")),
            other => TlsError::content(&self.ca, other.to_string()),
        })?;
        if self.names.is_empty() {
            return Ok(Some(inner));
        }
        Ok(Some(Arc::new(Named { inner, names: self.names.clone() })))
    }
}

/// Takes those of the inner verifier's clients that have one of the names.
#[derive(Debug)]
struct Named {
    inner: Arc<dyn ClientCertVerifier>,
    names: Vec<String>,
}

impl ClientCertVerifier for Named {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.inner.verify_client_cert(end_entity, intermediates, now)?;
        let certificate =
            EndEntityCert::try_from(end_entity).map_err(|_no_certificate| CertificateError::BadEncoding)?;
        let host = |name: &str| self.names.iter().any(|listed| listed.eq_ignore_ascii_case(name));
        let uri = |name: &str| self.names.iter().any(|listed| listed == name);
        if certificate.valid_dns_names().any(host) || certificate.valid_uri_names().any(uri) {
            return Ok(verified);
        }
        Err(CertificateError::NotValidForName.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
