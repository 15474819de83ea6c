//! From nothing to all that a development server needs, and the same again at the next start.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use hsm_client::PageRequest;
use hsm_client::kinds::EcdsaP256;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use super::*;

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::default())
}

#[tokio::test]
async fn a_second_start_finds_what_the_first_one_made() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("hsm-dev");
    let first = Dev::prepare(&folder, 8443, clock()).await.unwrap();
    let session = first
        .hsm()
        .login(first.administrator(), first.expose_password())
        .await
        .unwrap();
    let key = session.create::<EcdsaP256>("hello").await.unwrap();
    key.sign(b"hello").await.unwrap();
    assert!(
        session
            .list_deleted_keys(PageRequest::default())
            .await
            .is_ok()
    );
    assert!(session.random(8).await.is_ok());
    let text = first.text();
    for part in [
        first.expose_password(),
        &*first.url(),
        &*first.ca_file().display().to_string(),
    ] {
        assert!(text.contains(part), "{part}");
    }
    assert!(!format!("{first:?}").contains(first.expose_password()));
    for file in ["dev.json", "ca.key", "server.key"] {
        let mode = fs::metadata(folder.join(file))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    assert_eq!(
        fs::metadata(&folder).unwrap().permissions().mode() & 0o777,
        0o700
    );
    let kept = ["ca.pem", "ca.key", "server.pem", "server.key", "dev.json"]
        .map(|file| fs::read(folder.join(file)).unwrap());
    // Who changes the password can start the server all the same.
    session
        .change_password(first.expose_password(), "another password")
        .await
        .unwrap();
    drop((session, key, first));

    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    let second = Dev::prepare(&folder, 8443, clock()).await.unwrap();
    assert_eq!(second.text(), text);
    assert_eq!(
        fs::metadata(&folder).unwrap().permissions().mode() & 0o777,
        0o700
    );
    let again = ["ca.pem", "ca.key", "server.pem", "server.key", "dev.json"]
        .map(|file| fs::read(folder.join(file)).unwrap());
    assert_eq!(kept, again);
    assert!(second.identities(&IdentityConfig::default()).is_ok());
}

#[tokio::test]
async fn a_server_certificate_that_is_gone_is_made_anew_by_the_same_ca() {
    let parent = tempfile::tempdir().unwrap();
    ca::prepare(parent.path()).unwrap();
    let ca = fs::read(parent.path().join("ca.pem")).unwrap();
    let server = fs::read(parent.path().join("server.pem")).unwrap();
    check(parent.path()).await;
    fs::remove_file(parent.path().join("server.pem")).unwrap();
    ca::prepare(parent.path()).unwrap();
    assert_eq!(fs::read(parent.path().join("ca.pem")).unwrap(), ca);
    assert_ne!(fs::read(parent.path().join("server.pem")).unwrap(), server);
    check(parent.path()).await;
}

/// Whether a client that trusts the CA, and nothing else, believes the server under each name.
async fn check(folder: &Path) {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let chain = vec![CertificateDer::from_pem_file(folder.join("server.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(folder.join("server.key")).unwrap();
    let server = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(folder.join("ca.pem")).unwrap())
        .unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
    for (name, is_believed) in [
        ("localhost", true),
        ("dev.localhost", true),
        ("other.localhost", false),
        ("127.0.0.1", true),
        ("::1", true),
        ("127.0.0.2", false),
        ("example.com", false),
        ("a.b.localhost", false),
    ] {
        let (near, far) = tokio::io::duplex(16 << 10);
        let name = ServerName::try_from(name).unwrap();
        let (accepted, connected) =
            tokio::join!(acceptor.accept(near), connector.connect(name.clone(), far));
        drop(accepted);
        assert_eq!(connected.is_ok(), is_believed, "{name:?}");
    }
}
