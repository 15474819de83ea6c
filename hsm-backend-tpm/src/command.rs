//! [`Command`] and [`Response`]: the frames (TPM 2.0 Library part 1, section 18), without what sessions add to them.

use hsm_core::PcrSelection;
use tpm2_protocol::data::{TpmCc, TpmSt};
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::return_code::ReturnCode;
use crate::wire::{FRAME_LEN_MAX, Reader, Writer};

/// What a handle stands for: the session's HMAC is over its name.
#[derive(Clone, Debug)]
pub(crate) struct Entity {
    pub(crate) handle: u32,
    pub(crate) name: Vec<u8>,
}

impl Entity {
    /// An object.
    pub(crate) fn object(handle: u32, name: &[u8]) -> Self {
        let name = name.to_vec();
        Self { handle, name }
    }

    /// What has its handle for a name: a hierarchy, or a session.
    pub(crate) fn permanent(handle: u32) -> Self {
        let name = handle.to_be_bytes().to_vec();
        Self { handle, name }
    }
}

/// A command, before it is sent.
#[derive(Clone)]
pub(crate) struct Command<'a> {
    pub(crate) code: TpmCc,
    pub(crate) handles: Vec<Entity>,
    /// The authorization value of the first handle, if the command needs one.
    pub(crate) auth: Option<&'a [u8]>,
    /// The registers of the policy by which the first handle is used, if it is tied to a boot state.
    pub(crate) boot_state: Option<PcrSelection>,
    /// Whether the second handle needs authorization as well, by an empty password.
    pub(crate) second_auth: bool,
    pub(crate) parameters: Writer,
    /// Whether the first parameter, a `TPM2B`, goes encrypted.
    pub(crate) secret_in: bool,
    /// Whether the first parameter of the response, a `TPM2B`, comes encrypted.
    pub(crate) secret_out: bool,
    /// How many handles the response has.
    pub(crate) handles_out: usize,
}

impl<'a> Command<'a> {
    pub(crate) fn new(code: TpmCc) -> Self {
        Self {
            code,
            handles: Vec::new(),
            auth: None,
            boot_state: None,
            second_auth: false,
            parameters: Writer::new(),
            secret_in: false,
            secret_out: false,
            handles_out: 0,
        }
    }

    pub(crate) fn handle(mut self, entity: Entity) -> Self {
        self.handles.push(entity);
        self
    }

    /// A handle that needs authorization. The first, where there is one.
    pub(crate) fn authorized(mut self, entity: Entity, auth: &'a [u8]) -> Self {
        self.auth = Some(auth);
        self.handle(entity)
    }

    /// Uses the first handle by the policy of a boot state.
    pub(crate) fn in_boot_state(mut self, registers: Option<PcrSelection>) -> Self {
        self.boot_state = registers;
        self
    }

    /// A second handle that needs authorization, whose value is empty. The session's HMAC covers its name.
    pub(crate) fn with_empty_password(mut self, entity: Entity) -> Self {
        self.second_auth = true;
        self.handle(entity)
    }

    pub(crate) fn parameters(mut self, write: impl FnOnce(&mut Writer)) -> Self {
        write(&mut self.parameters);
        self
    }

    pub(crate) fn secret_in(mut self) -> Self {
        self.secret_in = true;
        self
    }

    pub(crate) fn secret_out(mut self) -> Self {
        self.secret_out = true;
        self
    }

    pub(crate) fn handles_out(mut self, count: usize) -> Self {
        self.handles_out = count;
        self
    }

    /// The frame. `authorizations` is the authorization area without its length; empty is none.
    pub(crate) fn frame(&self, authorizations: &[u8]) -> Result<Writer, Failure> {
        let tag = match authorizations {
            [] => TpmSt::NoSessions,
            _ => TpmSt::Sessions,
        };
        let area = match authorizations.len() {
            0 => 0,
            len => 4 + len,
        };
        let parameters = self.parameters.as_slice();
        let len = HEADER_LEN + 4 * self.handles.len() + area + parameters.len();
        if len > FRAME_LEN_MAX {
            return Err(crate::failure::invalid("the data does not fit into a command").into());
        }
        let as_u32 = |len| u32::try_from(len).unwrap_or(u32::MAX);
        let mut frame = Writer::new();
        frame
            .u16(tag.value())
            .u32(as_u32(len))
            .u32(self.code.value());
        for entity in &self.handles {
            frame.u32(entity.handle);
        }
        if area > 0 {
            frame
                .u32(as_u32(authorizations.len()))
                .bytes(authorizations);
        }
        frame.bytes(parameters);
        Ok(frame)
    }
}

/// A response that was taken apart.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) handles: Vec<u32>,
    pub(crate) parameters: Zeroizing<Vec<u8>>,
    /// The authorization area; empty without sessions.
    pub(crate) authorizations: Vec<u8>,
}

impl Response {
    /// Takes a frame apart. Fails with the return code that is in it, if it is not success.
    pub(crate) fn parse(frame: &[u8], handles_out: usize) -> Result<Self, Failure> {
        let mut reader = Reader::new(frame);
        let tag = reader.u16()?;
        let len = reader.u32()?;
        let code = reader.u32()?;
        if usize::try_from(len) != Ok(frame.len()) {
            return Err(Failure::Altered);
        }
        if let Some(code) = ReturnCode::new(code) {
            return Err(Failure::Code(code));
        }
        let mut handles = Vec::new();
        for _ in 0..handles_out {
            handles.push(reader.u32()?);
        }
        if tag == TpmSt::NoSessions.value() {
            return Ok(Self {
                handles,
                parameters: Zeroizing::new(reader.rest().to_vec()),
                authorizations: Vec::new(),
            });
        }
        if tag != TpmSt::Sessions.value() {
            return Err(Failure::Altered);
        }
        let len = usize::try_from(reader.u32()?).map_err(|_| Failure::Altered)?;
        let parameters = Zeroizing::new(reader.take(len)?.to_vec());
        Ok(Self {
            handles,
            parameters,
            authorizations: reader.rest().to_vec(),
        })
    }

    pub(crate) fn handle(&self) -> Result<u32, Failure> {
        self.handles.first().copied().ok_or(Failure::Altered)
    }

    pub(crate) fn reader(&self) -> Reader<'_> {
        Reader::new(&self.parameters)
    }
}

const HEADER_LEN: usize = 10;
