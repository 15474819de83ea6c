//! A TPM derives what the software device derives, of the same key.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "simulated/transport.rs"]
mod transport;

use futures_executor::block_on;
use hsm_backend_soft::SoftDevice;
use hsm_backend_tpm::TpmDevice;
use hsm_core::{
    Algorithm, Binding, DeriveParameters, Device, ErrorKind, KeySpec, KeyType, SecretBytes, Usage,
    Usages,
};
use hsm_testkit::TpmSimulator;
use transport::Simulated;

const KBKDF: [Algorithm; 3] = [
    Algorithm::KbkdfHmacSha256,
    Algorithm::KbkdfHmacSha384,
    Algorithm::KbkdfHmacSha512,
];

#[test]
fn a_tpm_derives_what_the_software_device_derives() {
    if let Some(reason) = TpmSimulator::missing() {
        eprintln!("skipped: {reason}");
        return;
    }
    let tpm = TpmDevice::create(Simulated::new()).unwrap();
    let software = SoftDevice::in_memory().unwrap();
    let spec = KeySpec::new(KeyType::Kdk256, Usages::of(&[Usage::DeriveKey])).unwrap();
    let binding = Binding::new("test", b"a key");
    block_on(async {
        let secret: Vec<u8> = (0..32).collect();
        let material = || SecretBytes::copy_from(&secret);
        let here = tpm.import(material(), &spec, &binding).await.unwrap();
        let here = tpm.load(&here.sealed, &binding).await.unwrap();
        let there = software.import(material(), &spec, &binding).await.unwrap();
        let there = software.load(&there.sealed, &binding).await.unwrap();
        // More than one command takes.
        let long = vec![7; 3000];
        for (label, context) in [
            (&b"label"[..], &b"context"[..]),
            (b"", b""),
            (&long, b"context"),
            (b"label", &long),
        ] {
            let parameters = DeriveParameters {
                salt_or_label: label,
                info_or_context: context,
            };
            for algorithm in KBKDF {
                for len in [1, 32, 63, 129] {
                    let derived = here.derive(algorithm, parameters, len).await.unwrap();
                    let expected = there.derive(algorithm, parameters, len).await.unwrap();
                    assert_eq!(derived.expose(), expected.expose(), "{algorithm} {len}");
                }
            }
        }
        let hkdf = here.derive(Algorithm::HkdfSha256, DeriveParameters::default(), 32);
        assert_eq!(hkdf.await.unwrap_err().kind(), ErrorKind::Unsupported);
    });
}
