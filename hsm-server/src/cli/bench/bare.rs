//! What a server is measured against: an axum handler over rustls that reads the same JSON, signs and answers, and nothing else.

use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::{EcdsaKeyPair, RSA_PKCS1_SHA256};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use base64ct::{Base64UrlUnpadded, Encoding};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::raw;
use crate::cli::Result;
use crate::cli::failure::Failure;

struct Keys {
    random: SystemRandom,
    p256: EcdsaKeyPair,
    rsa2048: KeyPair,
}

#[derive(Deserialize)]
struct SignRequest {
    alg: String,
    value: String,
}

#[derive(Serialize)]
struct SignResponse {
    kid: String,
    value: String,
}

/// Serves until it is stopped. It prints where, as `hsm serve` does.
pub(super) async fn serve(folder: &Path) -> Result<()> {
    let failed = |source| Failure::io("the bare server", &source);
    let keys = Arc::new(Keys {
        random: SystemRandom::new(),
        p256: raw::p256()?,
        rsa2048: raw::rsa2048()?,
    });
    let router = Router::new()
        .route("/p256", post(sign_p256))
        .route("/rsa2048", post(sign_rsa2048))
        .with_state(keys);
    let acceptor = TlsAcceptor::from(Arc::new(tls(folder)?));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let ready = serde_json::json!({ "ready": true, "addresses": [address.to_string()] });
    crate::cli::output::Out::new(crate::cli::output::Format::Json).line(&ready.to_string())?;
    loop {
        let (stream, _) = listener.accept().await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let (acceptor, router) = (acceptor.clone(), router.clone());
        tokio::spawn(async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                let service = TowerToHyperService::new(router);
                // A connection that ends otherwise than it should is the other side's to tell.
                drop(
                    auto::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service)
                        .await,
                );
            }
        });
    }
}

async fn sign_p256(
    State(keys): State<Arc<Keys>>,
    Json(request): Json<SignRequest>,
) -> std::result::Result<Json<SignResponse>, StatusCode> {
    let digest = digest_of(&request, "ES256")?;
    let signature = keys
        .p256
        .sign(&keys.random, &digest)
        .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(answer(signature.as_ref()))
}

async fn sign_rsa2048(
    State(keys): State<Arc<Keys>>,
    Json(request): Json<SignRequest>,
) -> std::result::Result<Json<SignResponse>, StatusCode> {
    let digest = digest_of(&request, "RS256")?;
    let mut signature = vec![0; keys.rsa2048.public_modulus_len()];
    keys.rsa2048
        .sign(&RSA_PKCS1_SHA256, &keys.random, &digest, &mut signature)
        .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(answer(&signature))
}

fn digest_of(request: &SignRequest, algorithm: &str) -> std::result::Result<Vec<u8>, StatusCode> {
    if request.alg != algorithm {
        return Err(StatusCode::BAD_REQUEST);
    }
    Base64UrlUnpadded::decode_vec(&request.value).map_err(|_| StatusCode::BAD_REQUEST)
}

fn answer(signature: &[u8]) -> Json<SignResponse> {
    Json(SignResponse {
        kid: "https://localhost/keys/bare/00000000000000000000000000000000".to_owned(),
        value: Base64UrlUnpadded::encode_string(signature),
    })
}

fn tls(folder: &Path) -> Result<ServerConfig> {
    let wrong = |error: &dyn std::fmt::Display| {
        Failure::usage(format!("the certificate of the bare server: {error}"))
    };
    let chain = CertificateDer::pem_file_iter(folder.join("server.pem"))
        .and_then(Iterator::collect)
        .map_err(|error| wrong(&error))?;
    let key =
        PrivateKeyDer::from_pem_file(folder.join("server.key")).map_err(|error| wrong(&error))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| wrong(&error))
}
