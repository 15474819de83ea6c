//! [`TpmSealer`]: secrets that only this TPM opens, in one boot state or in any. What it makes, to the byte: `docs/tpm.md`.

use std::fmt;
use std::sync::Arc;

use hsm_core::limits::SEALED_SECRET_LEN;
use hsm_core::{Error, ErrorKind, PcrSelection, Result, RootSealer, SecretBytes};
use tpm2_protocol::data::{TpmAlgId, TpmCc, TpmaObject};

use crate::boot_state;
use crate::command::{Command, Entity};
use crate::failure::{Failure, damaged, invalid};
use crate::kdf::DIGEST_LEN;
use crate::root::{NAME_LEN, RootName, object_name};
use crate::tpm::Tpm;
use crate::wire::{Malformed, Reader, Writer};
use crate::worker::Worker;

/// Seals secrets to a TPM: [`TpmRoot::sealer`](crate::TpmRoot::sealer).
///
/// A sealed secret is an object of the TPM under its root key. It goes there and comes back encrypted, in a session that only this
/// TPM can have.
pub struct TpmSealer {
    worker: Arc<Worker>,
    registers: Option<PcrSelection>,
}

impl TpmSealer {
    pub(crate) fn new(worker: Arc<Worker>, registers: Option<PcrSelection>) -> Self {
        Self { worker, registers }
    }
}

impl RootSealer for TpmSealer {
    fn name(&self) -> &'static str {
        "the TPM"
    }

    fn seal(&self, secret: &SecretBytes) -> Result<Vec<u8>> {
        if secret.len() != SEALED_SECRET_LEN {
            return Err(invalid(format!(
                "a TPM seals secrets of {SEALED_SECRET_LEN} bytes, not of {}",
                secret.len()
            )));
        }
        let secret = SecretBytes::copy_from(secret.expose());
        let registers = self.registers;
        let sealed = self
            .worker
            .run_blocking(move |tpm| tpm.run(|tpm| seal(tpm, &secret, registers)))?;
        Ok(sealed.encode())
    }

    fn unseal(&self, sealed: &[u8]) -> Result<SecretBytes> {
        let sealed = Sealed::decode(sealed)
            .map_err(|_| damaged("this is not a secret that a TPM has sealed"))?;
        self.worker.run_blocking(move |tpm| {
            tpm.pin_to(sealed.root)?;
            tpm.run(|tpm| unseal(tpm, &sealed))
        })
    }
}

impl fmt::Debug for TpmSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TpmSealer")
            .field("registers", &self.registers)
            .finish_non_exhaustive()
    }
}

/// A secret as the TPM gave it out.
#[derive(Debug, Eq, PartialEq)]
struct Sealed {
    root: RootName,
    /// The registers to which it is sealed, with a digest of what each held. Only to say which has changed.
    registers: Vec<(PcrSelection, [u8; DIGEST_LEN])>,
    /// The `TPMT_PUBLIC`.
    public: Vec<u8>,
    /// The bytes of the `TPM2B_PRIVATE`.
    private: Vec<u8>,
}

impl Sealed {
    fn selection(&self) -> Option<PcrSelection> {
        let bits = |bits, (one, _): &(PcrSelection, _)| bits | one.bits();
        PcrSelection::from_bits(self.registers.iter().fold(0, bits))
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.u8(VERSION)
            .bytes(self.root.as_bytes())
            .u32(self.selection().map_or(0, PcrSelection::bits));
        for (_, digest) in &self.registers {
            out.bytes(digest);
        }
        out.sized(&self.public).sized(&self.private);
        out.as_slice().to_vec()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        if reader.u8()? != VERSION {
            return Err(Malformed);
        }
        let mut root = [0; NAME_LEN];
        root.copy_from_slice(reader.take(NAME_LEN)?);
        let mut registers = Vec::new();
        let bits = reader.u32()?;
        if bits != 0 {
            for one in singles(PcrSelection::from_bits(bits).ok_or(Malformed)?) {
                let mut digest = [0; DIGEST_LEN];
                digest.copy_from_slice(reader.take(DIGEST_LEN)?);
                registers.push((one, digest));
            }
        }
        let (public, private) = (reader.sized()?.to_vec(), reader.sized()?.to_vec());
        reader.end()?;
        Ok(Self {
            root: RootName::from_bytes(root),
            registers,
            public,
            private,
        })
    }
}

fn seal(
    tpm: &mut Tpm,
    secret: &SecretBytes,
    registers: Option<PcrSelection>,
) -> Result<Sealed, Failure> {
    let policy = match registers {
        Some(registers) => boot_state::policy(tpm, registers)?,
        None => Vec::new(),
    };
    let mut values = Vec::new();
    for one in registers.into_iter().flat_map(singles) {
        values.push((one, boot_state::read(tpm, one)?));
    }
    let command = Command::new(TpmCc::Create)
        .authorized(tpm.root_entity()?, &[])
        .parameters(|out| {
            out.sized_with(|sensitive| {
                sensitive.sized(&[]).sized(secret.expose());
            });
            out.sized_with(|public| template(public, &policy));
            out.sized(&[]).u32(0); // no outside information, no PCRs
        })
        .secret_in();
    let response = tpm.call(&command)?;
    let mut reader = response.reader();
    let (private, public) = (reader.sized()?, reader.sized()?);
    let mut expected = Writer::new();
    template(&mut expected, &policy);
    // Behind the template comes what is unique to it.
    if !public.starts_with(&expected.as_slice()[..expected.as_slice().len() - 2]) {
        return Err(Failure::Altered);
    }
    Ok(Sealed {
        root: tpm.root_name()?,
        registers: values,
        public: public.to_vec(),
        private: private.to_vec(),
    })
}

fn unseal(tpm: &mut Tpm, sealed: &Sealed) -> Result<SecretBytes, Failure> {
    let name = object_name(&sealed.public);
    if tpm.slots.is_full() {
        tpm.make_room(&[], Failure::Altered)?;
    }
    let load = Command::new(TpmCc::Load)
        .authorized(tpm.root_entity()?, &[])
        .parameters(|out| {
            out.sized(&sealed.private).sized(&sealed.public);
        })
        .handles_out(1);
    let response = match tpm.call(&load) {
        Err(failure) if failure.is_refusal() => {
            return Err(damaged("the sealed secret was altered: the TPM does not load it").into());
        }
        result => result?,
    };
    let handle = response.handle()?;
    let unseal = Command::new(TpmCc::Unseal)
        .authorized(Entity::object(handle, &name), &[])
        .in_boot_state(sealed.selection())
        .secret_out();
    let unsealed = tpm.call(&unseal);
    // Its place is needed; what fails is gone, with the TPM's memory.
    _ = tpm.flush(handle);
    let response = match unsealed {
        Err(Failure::Refused(error)) if error.kind() == ErrorKind::KeyState => {
            return Err(other_state(tpm, sealed)?.into());
        }
        Err(failure) if failure.is_unavailable() => {
            return Err(damaged(
                "the sealed secret was altered: it is tied to a boot state, or to none, other than it says",
            )
            .into());
        }
        result => result?,
    };
    let mut reader = response.reader();
    let secret = SecretBytes::copy_from(reader.sized()?);
    reader.end()?;
    if secret.len() != SEALED_SECRET_LEN {
        return Err(damaged("this is not a secret that a TPM has sealed").into());
    }
    Ok(secret)
}

/// Says which registers have changed.
fn other_state(tpm: &mut Tpm, sealed: &Sealed) -> Result<Error, Failure> {
    let mut changed = 0;
    for (one, digest) in &sealed.registers {
        if boot_state::read(tpm, *one)? != *digest {
            changed |= one.bits();
        }
    }
    let which = match PcrSelection::from_bits(changed) {
        Some(changed) => format!("PCR {changed}"),
        None => "a PCR".to_owned(),
    };
    Ok(Error::new(
        ErrorKind::Denied,
        format!(
            "this is the TPM to which the secret was sealed, but {which} holds another value: the machine was started with other firmware, settings or software"
        ),
    ))
}

/// The `TPMT_PUBLIC` of a sealed secret. With a policy nothing but the policy opens it.
fn template(out: &mut Writer, policy: &[u8]) {
    let mut attributes = TpmaObject::FIXED_TPM | TpmaObject::FIXED_PARENT | TpmaObject::NO_DA;
    if policy.is_empty() {
        attributes |= TpmaObject::USER_WITH_AUTH;
    }
    out.u16(TpmAlgId::KeyedHash.value())
        .u16(TpmAlgId::Sha256.value())
        .u32(attributes.bits())
        .sized(policy)
        .u16(TpmAlgId::Null.value()) // no scheme
        .sized(&[]);
}

fn singles(registers: PcrSelection) -> impl Iterator<Item = PcrSelection> {
    registers
        .iter()
        .filter_map(|number| PcrSelection::from_bits(1 << number))
}

const VERSION: u8 = 1;

#[cfg(test)]
mod tests {
    use hsm_core::limits::SEALED_SECRET_LEN_MAX;

    use super::*;

    fn sealed(registers: &[u8]) -> Sealed {
        let registers = registers.iter();
        let one = |number: &u8| (PcrSelection::of(&[*number]).unwrap(), [*number; DIGEST_LEN]);
        Sealed {
            root: RootName::from_bytes([5; NAME_LEN]),
            registers: registers.map(one).collect(),
            public: b"public".to_vec(),
            private: b"private".to_vec(),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for registers in [&[][..], &[0], &[0, 7, 23]] {
            let sealed = sealed(registers);
            let bytes = sealed.encode();
            assert_eq!(Sealed::decode(&bytes), Ok(sealed));
            for len in 0..bytes.len() {
                assert_eq!(Sealed::decode(&bytes[..len]), Err(Malformed), "{len}");
            }
            assert!(Sealed::decode(&[&bytes[..], &[0]].concat()).is_err());
        }
        let mut bytes = sealed(&[]).encode();
        bytes[1 + NAME_LEN] = 1; // a register that no TPM has
        assert_eq!(Sealed::decode(&bytes), Err(Malformed));
    }

    #[test]
    fn the_largest_fits_where_it_is_kept() {
        let mut largest = sealed(&(0..24).collect::<Vec<_>>());
        largest.public = vec![0; 128];
        largest.private = vec![0; 512];
        assert!(largest.encode().len() <= SEALED_SECRET_LEN_MAX);
    }
}
