//! A maker of TPMs, played by OpenSSL: certificates for endorsement keys, right ones and wrong ones.

use std::fs;
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// Before and after the certificates are valid, in seconds since 1970.
pub(crate) const BEFORE: u64 = 1_500_000_000;
pub(crate) const AFTER: u64 = 5_000_000_000;

/// `tcg-kp-EKCertificate`.
const ENDORSEMENT: &str = "extendedKeyUsage=2.23.133.8.1";

pub(crate) struct Authority(TempDir);

/// Why there is no maker on this machine.
pub(crate) fn missing() -> Option<String> {
    let found = Command::new("openssl")
        .arg("version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match found {
        Ok(status) if status.success() => None,
        _ => Some("OpenSSL is not installed (Debian: apt-get install openssl)".to_owned()),
    }
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let authority = Self(tempfile::tempdir().unwrap());
        let subject = format!("/CN={name}");
        authority.openssl(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 36500 \
             -addext keyUsage=critical,keyCertSign -keyout ca.key -out ca.pem -subj",
            &subject,
        );
        authority.openssl("x509 -in ca.pem -outform DER -out", "ca.der");
        authority
    }

    /// The root, in DER.
    pub(crate) fn certificate(&self) -> Vec<u8> {
        fs::read(self.0.path().join("ca.der")).unwrap()
    }

    /// A certificate for an endorsement key.
    pub(crate) fn endorsement(&self) -> Vec<u8> {
        self.leaf(ENDORSEMENT)
    }

    pub(crate) fn for_tls(&self) -> Vec<u8> {
        self.leaf("extendedKeyUsage=serverAuth")
    }

    pub(crate) fn without_purpose(&self) -> Vec<u8> {
        self.leaf("")
    }

    fn leaf(&self, purpose: &str) -> Vec<u8> {
        let extensions = format!("basicConstraints=critical,CA:FALSE\n{purpose}\n");
        fs::write(self.0.path().join("extensions"), extensions).unwrap();
        self.openssl(
            "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout leaf.key -out leaf.csr -subj",
            "/CN=A TPM",
        );
        self.openssl(
            "x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 36500 -sha256 \
             -extfile extensions -outform DER -out",
            "leaf.der",
        );
        fs::read(self.0.path().join("leaf.der")).unwrap()
    }

    fn openssl(&self, arguments: &str, last: &str) {
        let output = Command::new("openssl")
            .current_dir(self.0.path())
            .args(arguments.split_whitespace())
            .arg(last)
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments} {last}: {errors}");
    }
}
