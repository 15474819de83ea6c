//! Whatever a TPM, or somebody on the bus, answers: errors, never panics, nothing without end; and when the answers are
//! right again, the device works.
#![no_main]

use hsm_backend_tpm::TpmDevice;
use hsm_core::{Algorithm, Binding, CiphertextRef, Device, Result, SignInput, Usages};
use hsm_fuzz::{Bytes, FuzzedTpm, binding, tpm_specs};
use libfuzzer_sys::fuzz_target;
use pollster::block_on;

fuzz_target!(|data: &[u8]| {
    let mut data = Bytes(data);
    let steps: Vec<u8> = (0..data.byte() % 8).map(|_| data.byte()).collect();
    let pinned = data.byte() % 2 == 1;
    let tpm = FuzzedTpm::new(data.0);
    let opened = match pinned {
        true => TpmDevice::open(tpm.clone(), FuzzedTpm::root_name()),
        false => TpmDevice::create(tpm.clone()),
    };
    let Ok(device) = opened else {
        if tpm.is_honest() && data.0.is_empty() {
            panic!("an honest TPM was refused: {opened:?}");
        }
        return;
    };
    for step in steps {
        let honest = tpm.is_honest();
        let done = block_on(take(&device, step));
        // It was asked for what it has, by one who has it.
        if let (true, true, Err(error)) = (honest, data.0.is_empty(), done) {
            panic!("step {step}: {error}");
        }
    }
    tpm.be_honest();
    // The first call may find out what is wrong.
    _ = block_on(device.random(&mut [0; 8]));
    let works = block_on(device.random(&mut [0; 8]));
    assert!(
        works.is_ok() || device.root_name() != FuzzedTpm::root_name(),
        "{works:?}"
    );
    _ = block_on(device.close());
});

/// One thing that a caller does. Signatures and the like of this TPM are not right, and nothing here looks at them.
async fn take(device: &TpmDevice, step: u8) -> Result<()> {
    let binding = binding();
    let spec = &tpm_specs()[usize::from(step) / 16 % 4];
    let new = device.generate(spec, &binding).await?;
    let sealed = match step % 16 {
        0..8 => new.sealed,
        _ => {
            let same = Binding::new("fuzz", b"a key");
            device
                .reseal(&new.sealed, &binding, &same, Usages::NONE)
                .await?
        }
    };
    let key = device.load(&sealed, &binding).await?;
    let other = device.load(&sealed, &binding).await?;
    let digest = SignInput::Digest(&[7; 32]);
    match usize::from(step) / 16 % 4 {
        0 => {
            key.sign(Algorithm::Es256, digest).await?;
            let peer = other.public().cloned();
            if let Some(peer) = peer {
                // Rejected: this TPM encrypts nothing, so the point that is read is none.
                _ = other.agree(Algorithm::EcdhEs, &peer).await;
            }
        }
        1 => {
            key.mac(Algorithm::Hs256, b"message").await?;
            // Rejected: this TPM decrypts nothing, so it does not know the authorization value of the sequence.
            _ = other.mac(Algorithm::Hs256, &[7; 10_000]).await;
        }
        2 => {
            // Rejected or not: this TPM signs with something else.
            _ = key.sign(Algorithm::Rs256, digest).await;
            let ciphertext = CiphertextRef {
                ciphertext: &[7; 256],
                ..CiphertextRef::default()
            };
            other.decrypt(Algorithm::RsaOaep, ciphertext, b"").await?;
        }
        _ => {
            let iv = [7; 16];
            key.encrypt(Algorithm::A256Ctr, &[7; 3000], Some(&iv), b"")
                .await?;
        }
    }
    drop((key, other));
    device.random(&mut [0; 100]).await
}
