//! Keys that work in one boot state only: their policy (TPM 2.0 Library part 1, section 19.7), and the session in which it
//! is kept.

use hsm_core::{Error, ErrorKind, PcrSelection};
use sha2::{Digest, Sha256};
use tpm2_protocol::data::{TpmAlgId, TpmCc, TpmSe};

use crate::command::{Command, Entity};
use crate::failure::Failure;
use crate::kdf::DIGEST_LEN;
use crate::session::{Opening, Session};
use crate::tpm::Tpm;
use crate::wire::Writer;

/// The session with which keys are used that are tied to a boot state.
#[derive(Debug)]
pub(crate) struct PolicySession {
    pub(crate) session: Session,
    /// Whether something was said in it that no command has used up.
    pub(crate) begun: bool,
}

/// The policy of a key: the registers hold what they hold now, and the caller knows the authorization value.
pub(crate) fn policy(tpm: &mut Tpm, registers: PcrSelection) -> Result<Vec<u8>, Failure> {
    let values = read(tpm, registers)?;
    let mut selected = Writer::new();
    selection(&mut selected, registers);
    let with_registers = Sha256::new()
        .chain_update([0; DIGEST_LEN])
        .chain_update(TpmCc::PolicyPcr.value().to_be_bytes())
        .chain_update(selected.as_slice())
        .chain_update(values)
        .finalize();
    let policy = Sha256::new()
        .chain_update(with_registers)
        .chain_update(TpmCc::PolicyAuthValue.value().to_be_bytes())
        .finalize();
    Ok(policy.to_vec())
}

/// Says in the policy session what the policy of a key for `registers` asks for.
pub(crate) fn fulfil(tpm: &mut Tpm, registers: PcrSelection) -> Result<(), Failure> {
    if tpm.policy.is_none() {
        let (opening, command) =
            Opening::new(tpm.root_public()?, tpm.root_handle()?, TpmSe::Policy)?;
        let response = tpm.start_session(&command)?;
        let session = opening.finish(&response)?;
        tpm.policy = Some(PolicySession {
            session,
            begun: false,
        });
    }
    let policy = tpm.policy.as_mut().ok_or(Failure::Altered)?;
    let entity = Entity::permanent(policy.session.handle());
    if std::mem::replace(&mut policy.begun, true) {
        tpm.call(&Command::new(TpmCc::PolicyRestart).handle(entity.clone()))?;
    }
    let registers_now = Command::new(TpmCc::PolicyPcr)
        .handle(entity.clone())
        .parameters(|out| {
            out.sized(&[]); // whatever they hold
            selection(out, registers);
        });
    tpm.call(&registers_now)?;
    tpm.call(&Command::new(TpmCc::PolicyAuthValue).handle(entity))
        .map(drop)
}

/// What is said of a key whose policy does not hold.
pub(crate) fn other_state(registers: PcrSelection) -> Error {
    Error::new(
        ErrorKind::KeyState,
        format!(
            "the PCRs {registers} are not those of when the key was made: the machine was started in another state, in which the key does not work"
        ),
    )
}

/// The digest over what the registers hold, as [`policy`] and `TPM2_PolicyPCR` have it.
pub(crate) fn read(tpm: &mut Tpm, registers: PcrSelection) -> Result<[u8; DIGEST_LEN], Failure> {
    let mut values = Sha256::new();
    let mut left = registers.bits();
    let mut counter = None;
    while let Some(wanted) = PcrSelection::from_bits(left) {
        let command = Command::new(TpmCc::PcrRead).parameters(|out| selection(out, wanted));
        let response = tpm.call(&command)?;
        let mut reader = response.reader();
        let counted = reader.u32()?;
        if *counter.get_or_insert(counted) != counted {
            return Err(changing().into());
        }
        let (banks, algorithm, len) = (reader.u32()?, reader.u16()?, reader.u8()?);
        let mut bits = [0; 4];
        for byte in bits.iter_mut().take(usize::from(len)) {
            *byte = reader.u8()?;
        }
        let read = PcrSelection::from_bits(u32::from_le_bytes(bits));
        let read = read.ok_or_else(|| lacking(registers))?;
        let is_part = read.bits() & !wanted.bits() == 0;
        // The digests come from the lowest register on.
        let is_first = read.bits().trailing_zeros() == wanted.bits().trailing_zeros();
        if banks != 1 || algorithm != TpmAlgId::Sha256.value() || len != BYTES || !is_part {
            return Err(Failure::Altered);
        }
        if !is_first || reader.u32()? != read.bits().count_ones() {
            return Err(lacking(registers).into());
        }
        for _ in read.iter() {
            let value = reader.sized()?;
            if value.len() != DIGEST_LEN {
                return Err(Failure::Altered);
            }
            values.update(value);
        }
        reader.end()?;
        left &= !read.bits();
    }
    Ok(values.finalize().into())
}

/// A `TPML_PCR_SELECTION` of registers of the bank of SHA-256.
fn selection(out: &mut Writer, registers: PcrSelection) {
    let [low, middle, high, _] = registers.bits().to_le_bytes();
    out.u32(1)
        .u16(TpmAlgId::Sha256.value())
        .u8(BYTES)
        .bytes(&[low, middle, high]);
}

fn lacking(registers: PcrSelection) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("the TPM does not keep all of the PCRs {registers} with SHA-256"),
    )
}

fn changing() -> Error {
    Error::new(
        ErrorKind::Conflict,
        "the PCRs changed while they were read; try again",
    )
}

/// Bytes of a selection: 24 registers.
const BYTES: u8 = 3;
