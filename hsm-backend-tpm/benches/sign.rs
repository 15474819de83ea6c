//! How fast the device signs, compared with the TPM itself. `cargo bench -p hsm-backend-tpm` prints the ratio; it needs
//! swtpm.
//!
//! Raw is `TPM2_Sign` over the same transport with an empty password: no session, no digest, no thread. Both alternate, so
//! that a busy machine slows both.

use std::time::{Duration, Instant};

use futures_executor::block_on;
use hsm_backend_tpm::{TcpTransport, TpmDevice, Transport};
use hsm_core::{Algorithm, Binding, Device, KeySpec, KeyType, SignInput, Usage, Usages};
use hsm_testkit::TpmSimulator;

const ROUNDS: usize = 20;
const PER_ROUND: u32 = 100;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if let Some(reason) = TpmSimulator::missing() {
        eprintln!("skipped: {reason}");
        return Ok(());
    }
    println!("signatures a second, median of {ROUNDS} rounds of {PER_ROUND}, one caller");
    println!("key        TPM2_Sign, raw   TpmDevice   ratio");
    for kind in KINDS {
        let (raw, device) = compare(kind)?;
        let ratio = device / raw;
        println!("{:<10} {raw:14.0} {device:11.0} {ratio:7.2}", kind.name);
    }
    Ok(())
}

/// A kind of key, for the device and for frames written by hand.
#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    key_type: KeyType,
    algorithm: Algorithm,
    /// The type of the object.
    object: u8,
    /// What follows its policy.
    parameters: &'static [u8],
    /// The scheme, with SHA-256.
    scheme: [u8; 4],
}

const KINDS: [Kind; 2] = [
    Kind {
        name: "P-256",
        key_type: KeyType::EcP256,
        algorithm: Algorithm::Es256,
        object: 0x23,
        // No schemes, P-256, no point.
        parameters: &[0x00, 0x10, 0x00, 0x10, 0x00, 0x03, 0x00, 0x10, 0, 0, 0, 0],
        scheme: [0x00, 0x18, 0x00, 0x0b],
    },
    Kind {
        name: "RSA-2048",
        key_type: KeyType::Rsa2048,
        algorithm: Algorithm::Rs256,
        object: 0x01,
        // No schemes, 2048 bits, the usual exponent, no modulus.
        parameters: &[0x00, 0x10, 0x00, 0x10, 0x08, 0x00, 0, 0, 0, 0, 0, 0],
        scheme: [0x00, 0x14, 0x00, 0x0b],
    },
];

/// Rates of the TPM and of the device.
fn compare(kind: Kind) -> Result<(f64, f64), Box<dyn std::error::Error>> {
    let states = (tempfile::tempdir()?, tempfile::tempdir()?);
    let simulators = (
        TpmSimulator::start(states.0.path()),
        TpmSimulator::start(states.1.path()),
    );
    let mut raw = Raw::new(TcpTransport::connect(simulators.0.address())?, kind)?;
    let device = TpmDevice::create(TcpTransport::connect(simulators.1.address())?)?;
    let usages = Usages::of(&[Usage::Sign, Usage::Verify]);
    let spec = KeySpec::new(kind.key_type, usages)?;
    let binding = Binding::new("benchmark", b"");
    let sealed = block_on(device.generate(&spec, &binding))?.sealed;
    let key = block_on(device.load(&sealed, &binding))?;
    let digest = [7; 32];
    let (mut raw_times, mut device_times) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..PER_ROUND {
            raw.sign(&digest)?;
        }
        raw_times.push(start.elapsed());
        let start = Instant::now();
        for _ in 0..PER_ROUND {
            block_on(key.sign(kind.algorithm, SignInput::Digest(&digest)))?;
        }
        device_times.push(start.elapsed());
    }
    Ok((rate(&mut raw_times), rate(&mut device_times)))
}

fn rate(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    f64::from(PER_ROUND) / times[times.len() / 2].as_secs_f64()
}

/// A key of the owner hierarchy without authorization, and frames written by hand.
struct Raw {
    transport: TcpTransport,
    key: [u8; 4],
    scheme: [u8; 4],
}

impl Raw {
    fn new(mut transport: TcpTransport, kind: Kind) -> Result<Self, Box<dyn std::error::Error>> {
        let public = [
            &[0x00, kind.object, 0x00, 0x0b][..], // its name is by SHA-256
            &[0x00, 0x04, 0x04, 0x72],            // made here, stays here, signs
            &[0, 0],                              // no policy
            kind.parameters,
        ]
        .concat();
        let parameters = [
            &[0, 4, 0, 0, 0, 0][..],
            &u16::try_from(public.len())?.to_be_bytes(),
            &public,
            &[0, 0, 0, 0, 0, 0],
        ]
        .concat();
        let command = frame(0x131, [0x40, 0, 0, 1], &parameters)?;
        let response = checked(transport.transmit(&command, WITHIN)?)?;
        let key = response[10..14].try_into()?;
        let scheme = kind.scheme;
        Ok(Self {
            transport,
            key,
            scheme,
        })
    }

    fn sign(&mut self, digest: &[u8; 32]) -> Result<(), Box<dyn std::error::Error>> {
        let parameters = [
            &[0, 32][..],
            digest,
            &self.scheme,
            &[0x80, 0x24, 0x40, 0x00, 0x00, 0x07, 0, 0], // no ticket
        ]
        .concat();
        let command = frame(0x15d, self.key, &parameters)?;
        checked(self.transport.transmit(&command, WITHIN)?).map(drop)
    }
}

/// A command with one handle and an empty password.
fn frame(
    code: u32,
    handle: [u8; 4],
    parameters: &[u8],
) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let body = [
        &handle[..],
        &[0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 1, 0, 0],
        parameters,
    ]
    .concat();
    let len = u32::try_from(10 + body.len())?.to_be_bytes();
    Ok([&[0x80, 2][..], &len, &code.to_be_bytes(), &body].concat())
}

fn checked(response: Vec<u8>) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    match response.get(6..10) {
        Some([0, 0, 0, 0]) => Ok(response),
        code => Err(format!("the TPM answered {code:02x?}").into()),
    }
}

const WITHIN: Duration = Duration::from_secs(30);
