//! Promise: a remote HSM is opened by its URL, without being there yet, and says so when it is not.

use hsm_client::{ErrorKind, Hsm, Setup};
use pollster::block_on;

#[cfg(feature = "remote")]
#[test]
fn a_server_that_is_away_shows_at_the_login() {
    use hsm_client::OpenOptions;

    let folder = tempfile::tempdir().unwrap();
    let socket = format!("unix:{}", folder.path().join("hsm.sock").display());
    for url in ["https://localhost:1", &socket] {
        let options = OpenOptions::new().attempts(1);
        let hsm = block_on(Hsm::open_with(url, options)).unwrap();
        let error = block_on(hsm.login("app", "correct horse battery")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{url}: {error}");
        assert!(error.to_string().contains(url), "{error}");
    }
}

#[cfg(feature = "remote")]
#[test]
fn files_that_are_not_what_they_should_be_are_refused() {
    use std::fs;

    use hsm_client::OpenOptions;

    let folder = tempfile::tempdir().unwrap();
    let (missing, empty) = (folder.path().join("missing"), folder.path().join("empty"));
    fs::write(&empty, "").unwrap();
    for options in [
        OpenOptions::new().ca_file(&missing),
        OpenOptions::new().ca_file(&empty),
        OpenOptions::new().client_certificate(&empty, &empty),
        OpenOptions::new().proxy("no proxy"),
    ] {
        let opened = block_on(Hsm::open_with("https://localhost", options));
        assert_eq!(opened.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}

#[cfg(not(feature = "remote"))]
#[test]
fn without_the_feature_the_error_names_it() {
    let error = block_on(Hsm::open("https://localhost")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("feature `remote`"), "{error}");
}

#[test]
fn a_remote_hsm_is_not_made_from_here() {
    for url in ["https://localhost", "unix:/run/hsm.sock"] {
        let setup = Setup::new("admin", "an administrator's password");
        let error = block_on(Hsm::create(url, setup)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    }
}
