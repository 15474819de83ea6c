//! A TPM that knows the protocol and follows a fuzzer: its answers are right until the fuzzer says otherwise, and what it
//! makes of them has the session's HMAC, if the fuzzer wants it to.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use hsm_backend_tpm::{RootName, Sharing, Transport};
use hsm_core::key::header;
use hsm_core::{KeySpec, KeyType};
use sha2::{Digest, Sha256};

use crate::{Bytes, binding};

/// A way to such a TPM.
#[derive(Clone, Debug)]
pub struct FuzzedTpm(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// What the fuzzer says, and how much of it was taken.
    script: Vec<u8>,
    taken: usize,
    sharing: Sharing,
    sessions: HashMap<u32, [u8; 32]>,
    objects: HashMap<u32, Object>,
    next: u32,
    /// How often it may say yet that it is busy.
    busy: usize,
}

#[derive(Clone, Debug, Default)]
struct Object {
    auth: Vec<u8>,
}

impl FuzzedTpm {
    /// A TPM that does what `script` says, and then what is right.
    #[must_use]
    pub fn new(script: &[u8]) -> Self {
        Self(Arc::new(Mutex::new(State {
            script: script.to_vec(),
            taken: 0,
            sharing: match script.len() % 2 {
                0 => Sharing::Exclusive,
                _ => Sharing::Managed,
            },
            sessions: HashMap::new(),
            objects: HashMap::new(),
            next: 0,
            busy: 1,
        })))
    }

    /// The name of its root key.
    #[must_use]
    pub fn root_name() -> RootName {
        let hex: String = name_of(&root_public())
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        hex.parse().expect("a name")
    }

    /// From now on it does what is right.
    pub fn be_honest(&self) {
        let mut state = self.state();
        state.taken = state.script.len();
    }

    /// Whether the fuzzer has said all that it says.
    #[must_use]
    pub fn is_honest(&self) -> bool {
        let state = self.state();
        state.taken == state.script.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Transport for FuzzedTpm {
    fn transmit(&mut self, command: &[u8], _within: Duration) -> io::Result<Vec<u8>> {
        self.state().answer(command)
    }

    fn reconnect(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn sharing(&self) -> Sharing {
        self.state().sharing
    }
}

impl State {
    fn byte(&mut self) -> u8 {
        let byte = self.script.get(self.taken).copied();
        self.taken += usize::from(byte.is_some());
        byte.unwrap_or_default()
    }

    /// Some bytes: a length, and as many.
    fn bytes(&mut self) -> Vec<u8> {
        let len = usize::from(self.byte());
        let end = self.script.len().min(self.taken + len);
        let bytes = self.script[self.taken..end].to_vec();
        self.taken = end;
        bytes
    }

    fn answer(&mut self, command: &[u8]) -> io::Result<Vec<u8>> {
        let code = u32::from_be_bytes(command[6..10].try_into().expect("four bytes"));
        let handles_len = 4 * handles_in(code);
        let handles = &command[10..10 + handles_len];
        let mut rest = Wire(&command[10 + handles_len..]);
        let authorization = match command[1] {
            2 => {
                let len = rest.u32();
                Some(rest.take(len as usize))
            }
            _ => None,
        };
        let (out, mut parameters) = self.right(code, handles, rest);
        let first_handle = handles
            .first_chunk()
            .map(|handle| u32::from_be_bytes(*handle));
        let choice = self.byte();
        match choice % 8 {
            3 => parameters = self.bytes(),
            4 => {
                let (at, mask) = (usize::from(self.byte()), self.byte());
                if let Some(byte) = parameters.get_mut(at) {
                    *byte ^= mask;
                }
            }
            _ => {}
        }
        let mut frame = self.frame(code, first_handle, out, &parameters, authorization);
        match choice % 8 {
            5 => match self.byte() % 3 {
                0 => frame.truncate(usize::from(self.byte())),
                1 => {
                    let more = self.bytes();
                    frame.extend(more);
                }
                _ => {
                    let (at, mask) = (usize::from(self.byte()), self.byte());
                    if let Some(byte) = frame.get_mut(at) {
                        *byte ^= mask;
                    }
                }
            },
            6 => {
                let code = [0, 0, self.byte(), self.byte()];
                frame = [&[0x80, 1, 0, 0, 0, 10][..], &code].concat();
            }
            7 => match self.byte() {
                0 => return Err(io::ErrorKind::TimedOut.into()),
                1 => return Err(io::ErrorKind::UnexpectedEof.into()),
                2 => return Err(io::ErrorKind::ConnectionRefused.into()),
                _ => frame = self.bytes(),
            },
            _ => {}
        }
        // Each of these makes the device wait.
        if let Some([_, _, high, low]) = frame.get_mut(6..10)
            && matches!((*high & 0xf, *low), (9, 0x22 | 0x08 | 0x09 | 0x0a | 0x20))
        {
            match self.busy.checked_sub(1) {
                Some(left) => self.busy = left,
                None => (*high, *low) = (1, 1),
            }
        }
        Ok(frame)
    }

    /// What a TPM answers: a handle, perhaps, and the parameters.
    fn right(
        &mut self,
        code: u32,
        handles: &[u8],
        mut command: Wire<'_>,
    ) -> (Option<u32>, Vec<u8>) {
        let mut out = Vec::new();
        match code {
            GET_CAPABILITY => {
                let (capability, first, _) = (command.u32(), command.u32(), command.u32());
                out.push(0);
                out.extend(capability.to_be_bytes());
                match capability {
                    0 => {
                        let known = ALGORITHMS.iter().filter(|id| u32::from(**id) >= first);
                        out.extend((known.clone().count() as u32).to_be_bytes());
                        for id in known {
                            out.extend(id.to_be_bytes());
                            out.extend([0; 4]);
                        }
                    }
                    1 => out.extend([0; 4]), // nothing is loaded
                    2 => out.extend([1, first].map(u32::to_be_bytes).concat()),
                    _ => out.extend([1, first, 3].map(u32::to_be_bytes).concat()),
                }
            }
            READ_PUBLIC => {
                let public = root_public();
                sized(&mut out, &public);
                sized(&mut out, &name_of(&public));
                sized(&mut out, &name_of(&public));
            }
            CREATE_PRIMARY => {
                sized(&mut out, &root_public());
                return (Some(0x8000_0000 | self.next()), out);
            }
            START_AUTH_SESSION => {
                let handle = 0x0200_0000 | self.next();
                let caller = command.sized();
                let mut salt = Wire(command.sized());
                if handles[0] == 0x81 || handles[0] == 0x80 {
                    // The root key's private half is 1, so what is agreed on is the other one's public half.
                    let x = salt.sized();
                    let seed = Sha256::new()
                        .chain_update(1_u32.to_be_bytes())
                        .chain_update(x)
                        .chain_update(b"SECRET\0")
                        .chain_update(x)
                        .chain_update(GENERATOR[0])
                        .finalize();
                    let key = mac(&seed)
                        .chain_update(1_u32.to_be_bytes())
                        .chain_update(b"ATH\0")
                        .chain_update(NONCE)
                        .chain_update(caller)
                        .chain_update(256_u32.to_be_bytes());
                    self.sessions
                        .insert(handle, key.finalize().into_bytes().into());
                }
                sized(&mut out, &NONCE);
                return (Some(handle), out);
            }
            CREATE => {
                command.sized();
                let template = command.sized();
                let mut public = template.to_vec();
                match template[1] {
                    0x23 => {
                        public.truncate(template.len() - 4);
                        GENERATOR.map(|half| sized(&mut public, &half));
                    }
                    0x01 => {
                        public.truncate(template.len() - 2);
                        sized(&mut public, &[0xc1; 256]);
                    }
                    _ => {
                        public.truncate(template.len() - 2);
                        sized(&mut public, &[7; 32]);
                    }
                }
                sized(&mut out, &[1; 64]);
                sized(&mut out, &public);
                sized(&mut out, &[]);
            }
            LOAD => {
                command.sized();
                let public = command.sized();
                let handle = 0x8000_0000 | self.next();
                let auth = public.get(1).map(|kind| auth_of(*kind));
                let auth = auth.unwrap_or_default();
                self.objects.insert(handle, Object { auth });
                sized(&mut out, &name_of(public));
                return (Some(handle), out);
            }
            HMAC_START => {
                let handle = 0x8000_0000 | self.next();
                self.objects.insert(handle, Object::default());
                return (Some(handle), out);
            }
            SIGN => {
                command.sized();
                out.extend(command.take(4));
                GENERATOR.map(|half| sized(&mut out, &half));
            }
            GET_RANDOM => {
                let len = command.take(2);
                let len = usize::from(len[0]) << 8 | usize::from(len[1]);
                sized(&mut out, &vec![5; len]);
            }
            ECDH_Z_GEN => {
                let mut point = Vec::new();
                GENERATOR.map(|half| sized(&mut point, &half));
                sized(&mut out, &point);
            }
            ENCRYPT_DECRYPT => {
                let data = command.sized();
                sized(&mut out, data);
                sized(&mut out, &[9; 16]);
            }
            PCR_READ => {
                out.extend([0; 4]);
                out.extend(command.take(10));
                out.extend(1_u32.to_be_bytes());
                sized(&mut out, &[0; 32]);
            }
            POLICY_SECRET => out.extend([0, 0, 0x80, 0x23, 0x40, 0, 0, 7, 0, 0]),
            HMAC | SEQUENCE_COMPLETE | RSA_DECRYPT | OBJECT_CHANGE_AUTH | IMPORT => {
                sized(&mut out, &[3; 32]);
            }
            _ => {}
        }
        (None, out)
    }

    fn next(&mut self) -> u32 {
        self.next += 1;
        self.next
    }

    /// The response, with an HMAC if the command had one.
    fn frame(
        &self,
        code: u32,
        first: Option<u32>,
        handle: Option<u32>,
        parameters: &[u8],
        authorization: Option<&[u8]>,
    ) -> Vec<u8> {
        let handle = handle.map(u32::to_be_bytes);
        let handle = handle.as_ref().map_or(&[][..], |handle| handle);
        let mut body = handle.to_vec();
        let Some(authorization) = authorization else {
            body.extend(parameters);
            return response(1, &body);
        };
        let mut authorization = Wire(authorization);
        let session = authorization.u32();
        let caller = authorization.sized();
        let attributes = authorization.take(1);
        body.extend((parameters.len() as u32).to_be_bytes());
        body.extend(parameters);
        let mut key = self
            .sessions
            .get(&session)
            .copied()
            .unwrap_or_default()
            .to_vec();
        if let Some(object) = first.and_then(|first| self.objects.get(&first)) {
            key.extend(&object.auth);
        }
        let digest = Sha256::new()
            .chain_update([0; 4])
            .chain_update(code.to_be_bytes())
            .chain_update(parameters)
            .finalize();
        let tag = mac(&key)
            .chain_update(digest)
            .chain_update(NONCE)
            .chain_update(caller)
            .chain_update(attributes);
        sized(&mut body, &NONCE);
        body.extend(attributes);
        sized(&mut body, &tag.finalize().into_bytes());
        response(2, &body)
    }
}

/// The specs of the keys that are used with such a TPM: one of a kind, as the kind says which authorization value it has.
#[must_use]
pub fn tpm_specs() -> [KeySpec; 4] {
    [
        KeyType::EcP256,
        KeyType::HmacSha256,
        KeyType::Rsa2048,
        KeyType::Aes256,
    ]
    .map(crate::spec)
}

/// The authorization value of a key of a kind (`docs/tpm.md`).
fn auth_of(kind: u8) -> Vec<u8> {
    let at = match kind {
        0x23 => 0,
        0x08 => 1,
        0x01 => 2,
        _ => 3,
    };
    let auth = Sha256::new()
        .chain_update(b"hsm tpm auth v1")
        .chain_update(header::encode(&tpm_specs()[at]))
        .chain_update(binding().as_bytes())
        .finalize();
    let len = auth.iter().rposition(|byte| *byte != 0);
    auth[..len.map_or(0, |at| at + 1)].to_vec()
}

/// Bytes of a command, which the device wrote: zeros follow the last.
struct Wire<'a>(&'a [u8]);

impl<'a> Wire<'a> {
    fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn u32(&mut self) -> u32 {
        let bytes = self.take(4).first_chunk().copied();
        u32::from_be_bytes(bytes.unwrap_or_default())
    }

    fn sized(&mut self) -> &'a [u8] {
        let len = self.take(2).first_chunk().copied().unwrap_or_default();
        self.take(u16::from_be_bytes(len).into())
    }
}

fn response(tag: u8, body: &[u8]) -> Vec<u8> {
    let len = (10 + body.len() as u32).to_be_bytes();
    [&[0x80, tag][..], &len, &[0; 4], body].concat()
}

fn sized(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u16).to_be_bytes());
    out.extend(bytes);
}

fn mac(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

fn name_of(public: &[u8]) -> Vec<u8> {
    [&[0, 0x0b][..], &Sha256::digest(public)].concat()
}

/// A storage key on P-256 of the standard kind, with the private half 1.
fn root_public() -> Vec<u8> {
    let mut public = vec![0, 0x23, 0, 0x0b, 0, 3, 4, 0x72, 0, 0];
    public.extend([0, 6, 0, 128, 0, 0x43, 0, 0x10, 0, 3, 0, 0x10]);
    GENERATOR.map(|half| sized(&mut public, &half));
    public
}

fn handles_in(code: u32) -> usize {
    match code {
        OBJECT_CHANGE_AUTH | POLICY_SECRET | START_AUTH_SESSION => 2,
        GET_CAPABILITY | GET_RANDOM | PCR_READ | FLUSH_CONTEXT | SELF_TEST | STARTUP
        | TEST_PARMS => 0,
        _ => 1,
    }
}

const GET_CAPABILITY: u32 = 0x17a;
const READ_PUBLIC: u32 = 0x173;
const START_AUTH_SESSION: u32 = 0x176;
const CREATE: u32 = 0x153;
const CREATE_PRIMARY: u32 = 0x131;
const LOAD: u32 = 0x157;
const SIGN: u32 = 0x15d;
const HMAC: u32 = 0x155;
const HMAC_START: u32 = 0x15b;
const SEQUENCE_COMPLETE: u32 = 0x13e;
const GET_RANDOM: u32 = 0x17b;
const ECDH_Z_GEN: u32 = 0x154;
const ENCRYPT_DECRYPT: u32 = 0x193;
const RSA_DECRYPT: u32 = 0x159;
const OBJECT_CHANGE_AUTH: u32 = 0x150;
const IMPORT: u32 = 0x156;
const POLICY_SECRET: u32 = 0x151;
const PCR_READ: u32 = 0x17e;
const FLUSH_CONTEXT: u32 = 0x165;
const SELF_TEST: u32 = 0x143;
const STARTUP: u32 = 0x144;
const TEST_PARMS: u32 = 0x18a;

/// Identifiers of what a TPM for a PC has.
const ALGORITHMS: [u16; 15] = [
    1, 4, 5, 6, 8, 0x0b, 0x0c, 0x14, 0x16, 0x17, 0x18, 0x19, 0x23, 0x40, 0x42,
];

const NONCE: [u8; 32] = [7; 32];

/// The generator of P-256 (SP 800-186, section 3.2.1.3).
const GENERATOR: [[u8; 32]; 2] = [
    [
        0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc, 0xe6, 0xe5, 0x63, 0xa4, 0x40,
        0xf2, 0x77, 0x03, 0x7d, 0x81, 0x2d, 0xeb, 0x33, 0xa0, 0xf4, 0xa1, 0x39, 0x45, 0xd8, 0x98,
        0xc2, 0x96,
    ],
    [
        0x4f, 0xe3, 0x42, 0xe2, 0xfe, 0x1a, 0x7f, 0x9b, 0x8e, 0xe7, 0xeb, 0x4a, 0x7c, 0x0f, 0x9e,
        0x16, 0x2b, 0xce, 0x33, 0x57, 0x6b, 0x31, 0x5e, 0xce, 0xcb, 0xb6, 0x40, 0x68, 0x37, 0xbf,
        0x51, 0xf5,
    ],
];
