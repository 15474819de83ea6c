//! [`Session`]: an HMAC session that is salted to the root key (TPM 2.0 Library part 1, section 19). It authorizes,
//! encrypts the first parameter both ways, and finds out what was altered.

use hmac::Mac;
use hsm_core::Result;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tpm2_protocol::data::{TpmAlgId, TpmCc, TpmRh, TpmSe, TpmaSession};
use zeroize::Zeroizing;

use crate::command::{Command, Entity, Response};
use crate::failure::{Failure, failed};
use crate::kdf::{CIPHER_LEN, DIGEST_LEN, decrypt, encrypt, hmac, kdfa};
use crate::root::RootPublic;
use crate::wire::{Reader, Writer};

/// A session that the TPM has.
pub(crate) struct Session {
    handle: u32,
    key: Zeroizing<[u8; DIGEST_LEN]>,
    nonce_caller: [u8; DIGEST_LEN],
    nonce_tpm: Vec<u8>,
}

/// A session that was asked for.
pub(crate) struct Opening {
    salt: Zeroizing<[u8; DIGEST_LEN]>,
    nonce_caller: [u8; DIGEST_LEN],
}

impl Opening {
    /// The command that starts a session whose key only the holder of the root key can know.
    pub(crate) fn new(
        root: &RootPublic,
        handle: u32,
        kind: TpmSe,
    ) -> Result<(Self, Command<'static>)> {
        let (salt, encrypted) = root.share_secret("SECRET")?;
        let nonce_caller = nonce()?;
        let command = start(handle, &nonce_caller, &encrypted, kind);
        Ok((Self { salt, nonce_caller }, command))
    }

    /// Takes the TPM's answer.
    pub(crate) fn finish(self, response: &Response) -> Result<Session, Failure> {
        let mut reader = response.reader();
        let nonce_tpm = reader.sized()?.to_vec();
        reader.end()?;
        if nonce_tpm.len() < CIPHER_LEN {
            return Err(Failure::Altered);
        }
        Ok(Session {
            handle: response.handle()?,
            key: kdfa(&*self.salt, "ATH", [&nonce_tpm, &self.nonce_caller]),
            nonce_caller: self.nonce_caller,
            nonce_tpm,
        })
    }
}

/// The command that starts a trial session. It authorizes nothing: the device lets the TPM check authorization values
/// with it.
pub(crate) fn start_trial() -> Result<Command<'static>> {
    Ok(start(TpmRh::Null.value(), &nonce()?, &[], TpmSe::Trial))
}

fn start(salted_to: u32, nonce: &[u8; DIGEST_LEN], salt: &[u8], kind: TpmSe) -> Command<'static> {
    Command::new(TpmCc::StartAuthSession)
        .handle(Entity::permanent(salted_to))
        .handle(Entity::permanent(TpmRh::Null.value()))
        .parameters(|out| {
            out.sized(nonce).sized(salt).u8(kind.value());
            match kind {
                TpmSe::Trial => out.u16(TpmAlgId::Null.value()),
                _ => out
                    .u16(TpmAlgId::Aes.value())
                    .u16(128)
                    .u16(TpmAlgId::Cfb.value()),
            };
            out.u16(TpmAlgId::Sha256.value());
        })
        .handles_out(1)
}

impl Session {
    pub(crate) fn handle(&self) -> u32 {
        self.handle
    }

    /// Encrypts what is secret in `command`, and makes its frame with the session's HMAC.
    pub(crate) fn seal(&mut self, command: &mut Command<'_>) -> Result<Writer, Failure> {
        self.nonce_caller = nonce()?;
        let key = self.hmac_key(command.auth);
        if command.secret_in {
            let (cipher_key, iv) = cipher(&key, &self.nonce_caller, &self.nonce_tpm);
            let parameters = command.parameters.as_mut_slice();
            encrypt(&cipher_key, &iv, first_sized(parameters)?);
        }
        let attributes = attributes(command);
        let mut digest = Sha256::new();
        digest.update(command.code.value().to_be_bytes());
        for entity in &command.handles {
            digest.update(&entity.name);
        }
        digest.update(command.parameters.as_slice());
        let mac = hmac(&key)
            .chain_update(digest.finalize())
            .chain_update(self.nonce_caller)
            .chain_update(&self.nonce_tpm)
            .chain_update([attributes]);
        let mut authorization = Writer::new();
        authorization
            .u32(self.handle)
            .sized(&self.nonce_caller)
            .u8(attributes)
            .sized(&mac.finalize().into_bytes());
        if command.second_auth {
            authorization
                .u32(TpmRh::Pw.value())
                .sized(&[])
                .u8(TpmaSession::CONTINUE_SESSION.bits())
                .sized(&[]);
        }
        command.frame(authorization.as_slice())
    }

    /// Checks that `response` is the TPM's, to `command`, and decrypts what is secret in it.
    ///
    /// After a failure the session is of no use.
    pub(crate) fn open(
        &mut self,
        command: &Command<'_>,
        response: &mut Response,
    ) -> Result<(), Failure> {
        let mut reader = Reader::new(&response.authorizations);
        let nonce_tpm = reader.sized()?.to_vec();
        let attributes = reader.u8()?;
        let mac = reader.sized()?;
        if command.second_auth {
            reader.sized()?;
            reader.u8()?;
            reader.sized()?;
        }
        reader.end()?;
        let key = self.hmac_key(command.auth);
        let digest = Sha256::new()
            .chain_update(0u32.to_be_bytes())
            .chain_update(command.code.value().to_be_bytes())
            .chain_update(&*response.parameters)
            .finalize();
        let expected = hmac(&key)
            .chain_update(digest)
            .chain_update(&nonce_tpm)
            .chain_update(self.nonce_caller)
            .chain_update([attributes])
            .finalize()
            .into_bytes();
        if !bool::from(expected.as_slice().ct_eq(mac)) || nonce_tpm.len() < CIPHER_LEN {
            return Err(Failure::Altered);
        }
        self.nonce_tpm = nonce_tpm;
        if command.secret_out {
            let (cipher_key, iv) = cipher(&key, &self.nonce_tpm, &self.nonce_caller);
            decrypt(&cipher_key, &iv, first_sized(&mut response.parameters)?);
        }
        Ok(())
    }

    /// The session's key and the entity's authorization value, which the TPM keeps without trailing zeros.
    fn hmac_key(&self, auth: Option<&[u8]>) -> Zeroizing<Vec<u8>> {
        let auth = auth.unwrap_or_default();
        let len = auth
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |at| at + 1);
        Zeroizing::new([&self.key[..], &auth[..len]].concat())
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("handle", &self.handle)
            .finish_non_exhaustive()
    }
}

fn attributes(command: &Command<'_>) -> u8 {
    let mut attributes = TpmaSession::CONTINUE_SESSION;
    if command.secret_in {
        attributes |= TpmaSession::DECRYPT;
    }
    if command.secret_out {
        attributes |= TpmaSession::ENCRYPT;
    }
    if command.auth.is_none() && !command.secret_in && !command.secret_out {
        // A session must be there for something: here for its HMAC.
        attributes |= TpmaSession::AUDIT;
    }
    attributes.bits()
}

/// Key and IV for parameters (part 1, section 21.3).
fn cipher(
    key: &[u8],
    newer: &[u8],
    older: &[u8],
) -> (Zeroizing<[u8; CIPHER_LEN]>, [u8; CIPHER_LEN]) {
    let both = kdfa::<{ 2 * CIPHER_LEN }>(key, "CFB", [newer, older]);
    let (mut cipher_key, mut iv) = (Zeroizing::new([0; CIPHER_LEN]), [0; CIPHER_LEN]);
    cipher_key.copy_from_slice(&both[..CIPHER_LEN]);
    iv.copy_from_slice(&both[CIPHER_LEN..]);
    (cipher_key, iv)
}

/// The bytes of the `TPM2B` that `parameters` begin with.
fn first_sized(parameters: &mut [u8]) -> Result<&mut [u8], Failure> {
    let (len, rest) = parameters.split_first_chunk_mut().ok_or(Failure::Altered)?;
    let len = usize::from(u16::from_be_bytes(*len));
    rest.get_mut(..len).ok_or(Failure::Altered)
}

fn nonce() -> Result<[u8; DIGEST_LEN]> {
    let mut nonce = [0; DIGEST_LEN];
    getrandom::fill(&mut nonce).map_err(|_| failed("the system has no random numbers"))?;
    Ok(nonce)
}
