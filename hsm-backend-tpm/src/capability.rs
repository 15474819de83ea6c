//! What this TPM can do, as it says itself.

use std::collections::BTreeSet;

use hsm_core::{Algorithm, Capabilities, KeyType};
use tpm2_protocol::data::{TpmAlgId, TpmCap, TpmCc};

use crate::command::Command;
use crate::failure::Failure;
use crate::template;
use crate::tpm::Tpm;
use crate::wire::Reader;

/// Asks the TPM for its algorithms and sizes of keys.
pub(crate) fn read(tpm: &mut Tpm) -> Result<Capabilities, Failure> {
    let known = algorithms(tpm)?;
    let mut key_types = Vec::new();
    for key_type in KeyType::all() {
        if takes(tpm, key_type)? {
            key_types.push(key_type);
        }
    }
    let has_cipher = has_command(tpm, TpmCc::EncryptDecrypt2)?;
    let mut offered = BTreeSet::new();
    for key_type in &key_types {
        for algorithm in key_type.algorithms() {
            let Some(needed) = needed(*algorithm) else {
                continue;
            };
            let is_cipher = mode(*algorithm).is_some();
            if needed.iter().all(|id| known.contains(&id.value())) && (has_cipher || !is_cipher) {
                offered.insert(*algorithm);
            }
        }
    }
    key_types.retain(|key_type| {
        let mut fitting = key_type.algorithms().iter();
        fitting.any(|algorithm| offered.contains(algorithm))
    });
    Ok(Capabilities::new("tpm")
        .with_key_types(key_types)
        .with_algorithms(offered)
        .with_boot_states()
        .import_only()
        .with_attestation())
}

/// The mode of a cipher.
pub(crate) fn mode(algorithm: Algorithm) -> Option<TpmAlgId> {
    use Algorithm as A;
    match algorithm {
        A::A128Cbc | A::A192Cbc | A::A256Cbc | A::A128CbcPad | A::A192CbcPad | A::A256CbcPad => {
            Some(TpmAlgId::Cbc)
        }
        A::A128Ctr | A::A192Ctr | A::A256Ctr => Some(TpmAlgId::Ctr),
        _ => None,
    }
}

/// The scheme of an algorithm for signatures or for encryption with RSA.
pub(crate) fn scheme(algorithm: Algorithm) -> Option<TpmAlgId> {
    use Algorithm as A;
    match algorithm {
        A::Es256 | A::Es384 | A::Es512 => Some(TpmAlgId::Ecdsa),
        A::Rs256 | A::Rs384 | A::Rs512 => Some(TpmAlgId::Rsassa),
        A::Ps256 | A::Ps384 | A::Ps512 => Some(TpmAlgId::Rsapss),
        A::RsaOaep | A::RsaOaep256 | A::RsaAesKwp => Some(TpmAlgId::Oaep),
        _ => None,
    }
}

/// What the TPM needs for an algorithm. `None` for those that this device does not do, whatever the TPM has.
fn needed(algorithm: Algorithm) -> Option<Vec<TpmAlgId>> {
    use Algorithm as A;
    let mut needed = match algorithm {
        A::Hs256 | A::Hs384 | A::Hs512 => vec![TpmAlgId::Hmac],
        A::KbkdfHmacSha256 | A::KbkdfHmacSha384 | A::KbkdfHmacSha512 => vec![TpmAlgId::Hmac],
        A::EcdhEs => vec![TpmAlgId::Ecdh],
        _ => vec![scheme(algorithm).or_else(|| mode(algorithm))?],
    };
    if let Some(hash) = algorithm.hash() {
        needed.push(template::hash(hash)?);
    }
    Some(needed)
}

/// Identifiers of all algorithms, those of the vendor among them.
fn algorithms(tpm: &mut Tpm) -> Result<BTreeSet<u16>, Failure> {
    const COUNT: u32 = 256;
    let mut known = BTreeSet::new();
    let mut first = 0;
    loop {
        let listed = tpm.capability(TpmCap::Algs, first, COUNT)?;
        let mut reader = Reader::new(&listed);
        let count = reader.u32()?;
        let mut last = None;
        for _ in 0..count {
            let id = reader.u16()?;
            reader.u32()?;
            known.insert(id);
            last = Some(u32::from(id));
        }
        match last {
            // They come in order; a list that does not go on is at its end.
            Some(last) if last >= first => first = last + 1,
            _ => return Ok(known),
        }
    }
}

fn has_command(tpm: &mut Tpm, code: TpmCc) -> Result<bool, Failure> {
    let listed = tpm.capability(TpmCap::Commands, code.value(), 1)?;
    let mut reader = Reader::new(&listed);
    Ok(reader.u32()? > 0 && reader.u32()? & 0xffff == code.value())
}

/// Whether the TPM makes and loads keys of a type.
fn takes(tpm: &mut Tpm, key_type: KeyType) -> Result<bool, Failure> {
    let Some(kind) = template::object_type(key_type) else {
        return Ok(false);
    };
    let command = Command::new(TpmCc::TestParms).parameters(|out| {
        out.u16(kind.value());
        // There are parameters, as there is an object type.
        _ = template::parameters(key_type, out);
    });
    match tpm.call_plain(&command) {
        Ok(_) => Ok(true),
        Err(failure) if failure.is_refusal() => Ok(false),
        Err(failure) => Err(failure),
    }
}
