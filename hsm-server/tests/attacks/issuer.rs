//! An issuer whose tokens the first partition takes, and tokens of every kind.

use std::io::Write;
use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64ct::{Base64UrlUnpadded, Encoding};
use hsm_client::SystemClock;
use hsm_server::{Identities, IdentityConfig};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::world::World;

pub(crate) const ALICE: &str = "2f6e1a0c-5b1f-4b57-9a7e-0c6d1d7f8a01";
pub(crate) const AUDIENCE: &str = "https://localhost";

/// An issuer that listens on the loopback interface.
pub(crate) struct Issuer {
    pub(crate) url: String,
    key: EcdsaKeyPair,
    ca: tempfile::NamedTempFile,
}

impl Issuer {
    pub(crate) async fn start() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let parameters = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        let mut ca = tempfile::NamedTempFile::new().unwrap();
        ca.write_all(certificate.pem().as_bytes()).unwrap();
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!(
            "https://localhost:{}",
            listener.local_addr().unwrap().port()
        );
        let key = signing_key();
        let documents = (
            json!({ "issuer": url, "jwks_uri": format!("{url}/keys") }).to_string(),
            json!({ "keys": [jwk(&key)] }).to_string(),
        );
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut stream = acceptor.accept(stream).await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    request.push(stream.read_u8().await.unwrap());
                }
                let body = match request.starts_with(b"GET /keys ") {
                    true => &documents.1,
                    false => &documents.0,
                };
                let len = body.len();
                let answer = format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {len}\r\nconnection: close\r\n\r\n{body}"
                );
                stream.write_all(answer.as_bytes()).await.unwrap();
                stream.shutdown().await.unwrap();
            }
        });
        Self { url, key, ca }
    }

    /// A world whose first partition takes its tokens.
    pub(crate) async fn world(&self) -> World {
        let config: IdentityConfig = serde_json::from_value(json!({ "issuer": [{
            "issuer": self.url,
            "audiences": [AUDIENCE],
            "partitions": ["localhost"],
            "clock-skew-seconds": 0,
            "ca": self.ca.path(),
        }]}))
        .unwrap();
        let identities = Identities::new(&config, Arc::new(SystemClock::default())).unwrap();
        World::with(|builder| builder.identities(identities)).await
    }

    /// Claims that are right.
    pub(crate) fn claims(&self) -> Value {
        json!({ "iss": self.url, "aud": AUDIENCE, "oid": ALICE, "exp": now() + 3600 })
    }

    /// A token with these claims.
    pub(crate) fn token(&self, claims: &Value) -> String {
        sign(&self.key, claims)
    }

    /// Its public key as everybody can read it.
    pub(crate) fn public_key(&self) -> &[u8] {
        self.key.public_key().as_ref()
    }
}

pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap().as_secs()
}

pub(crate) fn signing_key() -> EcdsaKeyPair {
    EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()
}

fn jwk(key: &EcdsaKeyPair) -> Value {
    let (x, y) = key.public_key().as_ref()[1..].split_at(32);
    json!({ "kty": "EC", "crv": "P-256", "kid": "k", "use": "sig", "x": encode(x), "y": encode(y) })
}

pub(crate) fn encode(bytes: &[u8]) -> String {
    Base64UrlUnpadded::encode_string(bytes)
}

/// Header and claims, not signed.
pub(crate) fn unsigned(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| encode(value.to_string().as_bytes());
    format!("{}.{}", part(header), part(claims))
}

pub(crate) fn sign(key: &EcdsaKeyPair, claims: &Value) -> String {
    let text = unsigned(&json!({ "alg": "ES256", "kid": "k", "typ": "JWT" }), claims);
    let signature = key.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
    format!("{text}.{}", encode(signature.as_ref()))
}
