//! Every kind of key, in every version of TLS that has a scheme for it, on both sides.

use std::sync::Arc;

use hsm_client::kinds::{
    EcdsaP256, EcdsaP384, EcdsaP521, Ed25519, RsaPkcs1v15Sign2048, RsaPss2048, RsaPss3072,
    RsaPss4096,
};
use hsm_client::tls::rustls::pki_types::CertificateDer;
use hsm_client::tls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use hsm_client::tls::rustls::version::{TLS12, TLS13};
use hsm_client::tls::rustls::{self, SignatureScheme, SupportedProtocolVersion};
use hsm_client::tls::{ByName, Identity, SigningKey, TlsKind};
use hsm_client::{KeySpec, KeyType, Usage, Usages};

use crate::world::{World, handshake, server};

const BOTH: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// Server and client have a key of this kind in the HSM, and each takes the other's certificate.
async fn both_sides<A: TlsKind>(versions: &[&'static SupportedProtocolVersion]) {
    let world = World::new().await;
    let session = world.app().await;
    for (at, version) in versions.iter().enumerate() {
        let key = session.create::<A>(&format!("www-{at}")).await.unwrap();
        let chain = world
            .ca
            .issue(&key.public_key().await.unwrap(), "localhost");
        let identity = Arc::new(Identity::new(&key, chain.clone()).await.unwrap());

        let server = Arc::new(world.ca.server_for_clients(&[version], identity.clone()));
        let mut client = world.ca.client_of(&[version]);
        client.client_auth_cert_resolver = identity;
        let mut ends = handshake(&server, &Arc::new(client), "localhost").unwrap();
        assert_eq!(ends.client.protocol_version(), Some(version.version));
        assert_eq!(ends.client.peer_certificates().unwrap(), chain);
        assert_eq!(ends.server.peer_certificates().unwrap(), chain);
        assert!(ends.are_connected());

        // Who has no key gets nowhere, so the certificate of the client was asked for.
        let stranger = Arc::new(world.ca.client_of(&[version]));
        assert!(handshake(&server, &stranger, "localhost").is_err());
    }
}

#[tokio::test]
async fn ecdsa_p256() {
    both_sides::<EcdsaP256>(&BOTH).await;
}

#[tokio::test]
async fn ecdsa_p384() {
    both_sides::<EcdsaP384>(&BOTH).await;
}

#[tokio::test]
async fn ecdsa_p521() {
    both_sides::<EcdsaP521>(&BOTH).await;
}

#[tokio::test]
async fn ed25519() {
    both_sides::<Ed25519>(&BOTH).await;
}

#[tokio::test]
async fn rsa_pss_2048() {
    both_sides::<RsaPss2048>(&BOTH).await;
}

#[tokio::test]
async fn rsa_pss_3072() {
    both_sides::<RsaPss3072>(&[&TLS13]).await;
}

#[tokio::test]
async fn rsa_pss_4096() {
    both_sides::<RsaPss4096>(&[&TLS13]).await;
}

#[tokio::test]
async fn rsa_pkcs1_in_tls_1_2() {
    both_sides::<RsaPkcs1v15Sign2048>(&[&TLS12]).await;
}

/// TLS 1.3 has no signatures with PKCS #1 v1.5 padding (RFC 8446 section 4.2.3).
#[tokio::test]
async fn rsa_pkcs1_is_not_for_tls_1_3() {
    let world = World::new().await;
    let key = world.app().await;
    let key = key.create::<RsaPkcs1v15Sign2048>("www").await.unwrap();
    let chain = world
        .ca
        .issue(&key.public_key().await.unwrap(), "localhost");
    let identity = Arc::new(Identity::new(&key, chain).await.unwrap());
    let client = Arc::new(world.ca.client_of(&[&TLS13]));
    assert!(handshake(&Arc::new(server(identity)), &client, "localhost").is_err());
}

/// A key that is not bound to one algorithm has what the type of the key has.
#[tokio::test]
async fn a_key_of_any_type() {
    use rustls::sign::SigningKey as _;
    let world = World::new().await;
    let session = world.app().await;
    let spec = KeySpec::new(KeyType::Rsa2048, Usages::of(&[Usage::Sign, Usage::Verify])).unwrap();
    let key = session.create_any("www", spec).await.unwrap();
    let public = key.handle().public_key().await.unwrap();
    let identity = Identity::new(&key, world.ca.issue(&public, "localhost"));
    let identity = Arc::new(identity.await.unwrap());
    let signing = identity.certified_key().key.clone();
    for scheme in [
        SignatureScheme::RSA_PKCS1_SHA256,
        SignatureScheme::RSA_PKCS1_SHA384,
        SignatureScheme::RSA_PKCS1_SHA512,
        SignatureScheme::RSA_PSS_SHA256,
        SignatureScheme::RSA_PSS_SHA384,
        SignatureScheme::RSA_PSS_SHA512,
    ] {
        let signer = signing.choose_scheme(&[scheme]).unwrap();
        assert_eq!(signer.scheme(), scheme);
        signer.sign(b"message").unwrap();
    }
    assert!(signing.choose_scheme(&[SignatureScheme::ED25519]).is_none());
    assert_eq!(
        SigningKey::new(&key).await.unwrap().algorithm(),
        rustls::SignatureAlgorithm::RSA
    );
    for version in BOTH {
        let client = Arc::new(world.ca.client_of(&[version]));
        handshake(&Arc::new(server(identity.clone())), &client, "localhost").unwrap();
    }
}

/// A program that knows rustls and not this project.
fn of_another_project(
    key: impl rustls::sign::SigningKey + 'static,
    chain: Vec<CertificateDer<'static>>,
) -> rustls::ServerConfig {
    let certified = CertifiedKey::new(chain, Arc::new(key));
    certified.keys_match().unwrap();
    server(Arc::new(SingleCertAndKey::from(certified)))
}

#[tokio::test]
async fn a_program_that_does_not_know_us_takes_our_keys() {
    let world = World::new().await;
    let session = world.app().await;
    let ec = session.create::<EcdsaP384>("ec").await.unwrap();
    let okp = session.create::<Ed25519>("okp").await.unwrap();
    let rsa = session.create::<RsaPss2048>("rsa").await.unwrap();
    let client = Arc::new(world.ca.client());
    let chain = world.ca.issue(&ec.public_key().await.unwrap(), "localhost");
    let ec = of_another_project(SigningKey::new(&ec).await.unwrap(), chain);
    let chain = world
        .ca
        .issue(&okp.public_key().await.unwrap(), "localhost");
    let okp = of_another_project(SigningKey::new(&okp).await.unwrap(), chain);
    let chain = world
        .ca
        .issue(&rsa.public_key().await.unwrap(), "localhost");
    let rsa = of_another_project(SigningKey::new(&rsa).await.unwrap(), chain);
    for server in [ec, okp, rsa] {
        handshake(&Arc::new(server), &client, "localhost").unwrap();
    }
}

#[tokio::test]
async fn the_certificate_is_the_one_for_the_name() {
    let world = World::new().await;
    let session = world.app().await;
    let mut identities = Vec::new();
    let mut chains = Vec::new();
    for (key, name) in [
        ("a", "first.example"),
        ("b", "*.shop.example"),
        ("c", "third.example"),
    ] {
        let key = session.create::<EcdsaP256>(key).await.unwrap();
        let chain = world.ca.issue(&key.public_key().await.unwrap(), name);
        identities.push(Arc::new(Identity::new(&key, chain.clone()).await.unwrap()));
        chains.push(chain);
    }
    let [a, b, c] = identities.try_into().unwrap();
    let server = Arc::new(server(Arc::new(ByName::new(a).or(b).or(c))));
    let client = Arc::new(world.ca.client());
    for (name, chain) in [
        ("first.example", &chains[0]),
        ("eu.shop.example", &chains[1]),
        ("third.example", &chains[2]),
    ] {
        let ends = handshake(&server, &client, name).unwrap();
        assert_eq!(ends.client.peer_certificates().unwrap(), chain);
    }
    // The first, which the client then refuses.
    let error = handshake(&server, &client, "nobody.example").unwrap_err();
    assert!(error.to_string().contains("first.example"), "{error}");
}
