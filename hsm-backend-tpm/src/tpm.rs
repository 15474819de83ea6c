//! [`Tpm`]: the one who talks to the TPM, on the device's thread. It keeps a session and the root key ready, takes care
//! of what the TPM cannot do just now, and begins anew when the TPM has forgotten everything.

use std::io;
use std::thread;
use std::time::Duration;

use hsm_core::{Error, ErrorKind, Result};
use tpm2_protocol::data::{
    TpmCap, TpmCc, TpmHt, TpmPt, TpmRcBase, TpmRh, TpmSe, TpmSt, TpmSu, TpmaSession,
};

use crate::boot_state::{self, PolicySession};
use crate::command::{Command, Entity, Response};
use crate::failure::{Failure, failed};
use crate::limits;
use crate::return_code::Remedy;
use crate::root::{PERSISTENT_ROOT, RootKind, RootName, RootPublic};
use crate::session::{self, Opening, Session};
use crate::slots::Slots;
use crate::transport::{Sharing, Transport};
use crate::wire::Writer;

/// The TPM, as one connection has it.
#[derive(Debug)]
pub(crate) struct Tpm {
    transport: Box<dyn Transport>,
    connected: bool,
    /// The root key that it must have; after the first time, the one that it had.
    pin: Option<RootName>,
    root: Option<Root>,
    session: Option<Session>,
    pub(crate) policy: Option<PolicySession>,
    /// The session with which authorization values are checked.
    trial: Option<u32>,
    pub(crate) slots: Slots,
    /// Why the device does nothing any more.
    ended: Option<&'static str>,
}

/// The root key, where it is loaded.
#[derive(Debug)]
struct Root {
    handle: u32,
    public: RootPublic,
}

impl Tpm {
    /// Takes a connected transport, and finds the root key.
    pub(crate) fn open(transport: Box<dyn Transport>, pin: Option<RootName>) -> Result<Self> {
        let mut tpm = Self {
            transport,
            connected: true,
            pin,
            root: None,
            session: None,
            policy: None,
            trial: None,
            slots: Slots::default(),
            ended: None,
        };
        tpm.run(|tpm| tpm.session().map(drop))?;
        Ok(tpm)
    }

    /// Takes the root key called `name` from now on, if this TPM has it.
    pub(crate) fn pin_to(&mut self, name: RootName) -> Result<()> {
        if self.pin == Some(name) {
            return Ok(());
        }
        let before = self.pin.replace(name);
        // What is loaded goes with the root key under which it was.
        self.release();
        let found = self.run(|_| Ok(()));
        if found.is_err() {
            self.pin = before;
        }
        found
    }

    /// The name of the root key, once it was found.
    pub(crate) fn root_name(&self) -> Result<RootName> {
        self.pin.ok_or_else(|| failed("the TPM has no root key"))
    }

    pub(crate) fn root_public(&self) -> Result<&RootPublic, Failure> {
        let root = self.root.as_ref();
        Ok(&root
            .ok_or_else(|| failed("the TPM has no root key"))?
            .public)
    }

    pub(crate) fn root_handle(&self) -> Result<u32, Failure> {
        let root = self.root.as_ref();
        Ok(root
            .ok_or_else(|| failed("the TPM has no root key"))?
            .handle)
    }

    /// The root key, as a parent of others.
    pub(crate) fn root_entity(&self) -> Result<Entity, Failure> {
        let name = self.root_public()?.name();
        Ok(Entity::object(self.root_handle()?, name.as_bytes()))
    }

    /// Does something, and does it again if the TPM was reset or the connection broke under it. A device persists nothing,
    /// so whatever is done twice is done once.
    pub(crate) fn run<T>(
        &mut self,
        mut operation: impl FnMut(&mut Self) -> Result<T, Failure>,
    ) -> Result<T> {
        if let Some(why) = self.ended {
            return Err(failed(why));
        }
        let mut attempt = |tpm: &mut Self| {
            tpm.make_ready()?;
            operation(tpm)
        };
        let mut result = attempt(self);
        if matches!(&result, Err(failure) if failure.remedy() == Remedy::Rebuild) {
            self.forget();
            result = attempt(self);
        }
        if matches!(&result, Err(failure) if failure.remedy() == Remedy::Rebuild) {
            self.forget();
        }
        Ok(result?)
    }

    /// Frees what the device holds in the TPM, disconnects, and does nothing any more.
    pub(crate) fn end(&mut self, why: &'static str) {
        if self.ended.replace(why).is_none() {
            self.release();
            self.transport = Box::new(Nowhere);
        }
    }

    /// Sends a command in the session: authorized, encrypted, and with a response that is the TPM's.
    pub(crate) fn call(&mut self, command: &Command<'_>) -> Result<Response, Failure> {
        let mut changed = false;
        loop {
            match (self.call_once(command.clone()), command.boot_state) {
                (Err(failure), _) if failure.remedy() == Remedy::MakeRoom => {
                    self.make_room(&command.handles, failure)?;
                }
                (Err(Failure::Code(code)), Some(registers)) => match code.base() {
                    // Some register did, perhaps another one.
                    Some(TpmRcBase::PcrChanged) if !changed => changed = true,
                    Some(TpmRcBase::PolicyFail | TpmRcBase::PcrChanged) => {
                        return Err(boot_state::other_state(registers).into());
                    }
                    _ => return Err(Failure::Code(code)),
                },
                (result, _) => return result,
            }
        }
    }

    /// Sends a command without a session: nothing in it is secret, and nothing in the response is believed before it was
    /// checked otherwise.
    pub(crate) fn call_plain(&mut self, command: &Command<'_>) -> Result<Response, Failure> {
        let frame = command.frame(&[])?;
        self.send(command, &frame)
    }

    /// Flushes an object or a session.
    pub(crate) fn flush(&mut self, handle: u32) -> Result<(), Failure> {
        let command = Command::new(TpmCc::FlushContext).parameters(|out| {
            out.u32(handle); // a parameter, whatever its name
        });
        self.call_plain(&command).map(drop)
    }

    /// Frees the place of what was not used for longest, and is not in `busy`.
    pub(crate) fn make_room(&mut self, busy: &[Entity], failure: Failure) -> Result<(), Failure> {
        match self.slots.evict(busy) {
            Some(handle) => self.flush(handle),
            None => Err(failure),
        }
    }

    /// As [`make_room`](Self::make_room), if there is anything that can go. If not, the TPM says whether it has room.
    pub(crate) fn make_room_if_any(&mut self, busy: &[Entity]) -> Result<(), Failure> {
        match self.slots.evict(busy) {
            Some(handle) => self.flush(handle),
            None => Ok(()),
        }
    }

    /// The session in which authorization values are checked.
    pub(crate) fn trial(&mut self) -> Result<u32, Failure> {
        if let Some(handle) = self.trial {
            return Ok(handle);
        }
        let response = self.start_session(&session::start_trial()?)?;
        let handle = response.handle()?;
        self.trial = Some(handle);
        Ok(handle)
    }

    /// One property of the TPM.
    pub(crate) fn property(&mut self, property: TpmPt) -> Result<u32, Failure> {
        let listed = self.capability(TpmCap::TpmProperties, property.value(), 1)?;
        let mut reader = crate::wire::Reader::new(&listed);
        if reader.u32()? != 1 || reader.u32()? != property.value() {
            return Err(failed("the TPM does not tell its properties").into());
        }
        Ok(reader.u32()?)
    }

    /// A list of `TPM2_GetCapability`: its count, and what follows.
    pub(crate) fn capability(
        &mut self,
        capability: TpmCap,
        first: u32,
        count: u32,
    ) -> Result<Vec<u8>, Failure> {
        let command = Command::new(TpmCc::GetCapability).parameters(|out| {
            out.u32(capability.value()).u32(first).u32(count);
        });
        let response = self.call_plain(&command)?;
        let mut reader = response.reader();
        reader.u8()?; // whether there is more
        if reader.u32()? != capability.value() {
            return Err(Failure::Altered);
        }
        Ok(reader.rest().to_vec())
    }

    fn call_once(&mut self, mut command: Command<'_>) -> Result<Response, Failure> {
        if let Some(registers) = command.boot_state {
            boot_state::fulfil(self, registers)?;
        }
        let frame = self.session_of(&command)?.seal(&mut command)?;
        let sent = self.send(&command, &frame);
        match &sent {
            // Only these are sent with a value that may be wrong: the session is.
            Err(failure) if failure.is_unauthorized() && !CHECKS.contains(&command.code) => {
                self.forget();
            }
            // The TPM has new nonces, which are not known.
            Err(Failure::Altered) => self.forget(),
            _ => {}
        }
        let mut response = sent?;
        let opened = self.session_of(&command)?.open(&command, &mut response);
        if let Some(policy) = &mut self.policy
            && command.boot_state.is_some()
        {
            policy.begun = false;
        }
        if opened.is_err() {
            // Its nonces are not known any more, nor what the response loaded.
            self.forget();
        }
        opened.map(|()| response)
    }

    /// Sends a frame, again and again while the TPM is busy.
    fn send(&mut self, command: &Command<'_>, frame: &Writer) -> Result<Response, Failure> {
        if !self.connected {
            // What would come back is the answer to something else.
            return Err(Failure::Transport(io::ErrorKind::NotConnected.into()));
        }
        let within = limits::response_time(command.code);
        let mut pause = limits::RETRY_PAUSE_FIRST;
        for _ in 0..limits::RETRIES_MAX {
            let response = self.transport.transmit(frame.as_slice(), within);
            let response = response.map_err(|error| {
                self.connected = false;
                Failure::Transport(error)
            })?;
            match Response::parse(&response, command.handles_out) {
                Err(failure) if failure.remedy() == Remedy::Again => {
                    thread::sleep(pause);
                    pause = (2 * pause).min(limits::RETRY_PAUSE_MAX);
                }
                Err(failure) if failure.remedy() == Remedy::Wait => {
                    return Err(Failure::LockedOut(self.lockout_time(command)?));
                }
                result => return result,
            }
        }
        Err(failed("the TPM was busy for too long").into())
    }

    /// How long the TPM refuses authorization values (TPM 2.0 Library part 1, section 17.8).
    fn lockout_time(&mut self, command: &Command<'_>) -> Result<Duration, Failure> {
        let clears = command.code == TpmCc::Clear;
        let seconds = self.property(match clears {
            true => TpmPt::LockoutRecovery,
            false => TpmPt::LockoutInterval,
        })?;
        Ok(Duration::from_secs(u64::from(seconds)))
    }

    /// The session in which a command goes.
    fn session_of(&mut self, command: &Command<'_>) -> Result<&mut Session, Failure> {
        if command.boot_state.is_none() {
            return self.session();
        }
        let policy = self.policy.as_mut().ok_or(Failure::Altered)?;
        Ok(&mut policy.session)
    }

    fn session(&mut self) -> Result<&mut Session, Failure> {
        if self.session.is_none() {
            let (opening, command) =
                Opening::new(self.root_public()?, self.root_handle()?, TpmSe::Hmac)?;
            let response = self.start_session(&command)?;
            self.session = Some(opening.finish(&response)?);
        }
        self.session.as_mut().ok_or(Failure::Altered)
    }

    pub(crate) fn start_session(&mut self, command: &Command<'_>) -> Result<Response, Failure> {
        let mut flushed = false;
        loop {
            match self.call_plain(command) {
                Err(failure) if failure.remedy() == Remedy::MakeRoom => {
                    self.make_room(&[], failure)?;
                }
                Err(failure)
                    if failure.remedy() == Remedy::EndSessions
                        && self.transport.sharing() == Sharing::Exclusive
                        && !flushed =>
                {
                    flushed = true;
                    (self.session, self.policy, self.trial) = (None, None, None);
                    if self.flush_all(TpmHt::LOADED_SESSION)? == 0 {
                        return Err(failure);
                    }
                }
                result => return result,
            }
        }
    }

    /// Connects if it must, and finds the root key.
    fn make_ready(&mut self) -> Result<(), Failure> {
        if !self.connected {
            self.forget();
            self.transport.reconnect().map_err(|error| {
                // Nothing was sent: it never arrived.
                Failure::Transport(io::Error::new(io::ErrorKind::NotConnected, error))
            })?;
            self.connected = true;
        }
        if self.root.is_some() {
            return Ok(());
        }
        self.start_up()?;
        let exclusive = self.transport.sharing() == Sharing::Exclusive;
        if exclusive {
            self.flush_all(TpmHt::Transient)?;
            self.flush_all(TpmHt::LOADED_SESSION)?;
        }
        let root = self.find_root()?;
        self.pin = Some(root.public.name());
        self.root = Some(root);
        let room = match exclusive {
            true => self.property(TpmPt::HrTransientAvail)?,
            // What the root key takes of it is not counted.
            false => self.property(TpmPt::HrTransientMin)?.saturating_sub(1),
        };
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        self.slots = Slots::new(room.clamp(1, limits::SLOTS_MAX));
        Ok(())
    }

    /// Starts the TPM, if nobody has.
    fn start_up(&mut self) -> Result<(), Failure> {
        match self.property(TpmPt::HrTransientMin) {
            Err(Failure::Code(code)) if code.base() == Some(TpmRcBase::Initialize) => {
                let command = Command::new(TpmCc::Startup).parameters(|out| {
                    out.u16(TpmSu::Clear.value());
                });
                self.call_plain(&command).map(drop)
            }
            result => result.map(drop),
        }
    }

    /// Forgets what is loaded.
    fn forget(&mut self) {
        (self.root, self.session, self.trial) = (None, None, None);
        self.policy = None;
        self.slots.clear();
        if self.transport.sharing() == Sharing::Managed {
            // The manager flushes for who disconnects.
            self.connected = false;
        }
    }

    /// Flushes what is loaded. What fails is gone already, or the TPM is.
    fn release(&mut self) {
        let mut handles = self.slots.clear();
        handles.extend(self.session.take().map(|session| session.handle()));
        handles.extend(self.policy.take().map(|policy| policy.session.handle()));
        handles.extend(self.trial.take());
        let root = self.root.take().map(|root| root.handle);
        handles.extend(root.filter(|handle| *handle != PERSISTENT_ROOT));
        for handle in handles {
            if !self.connected {
                return;
            }
            _ = self.flush(handle);
        }
    }

    /// Flushes everything of a kind, whoever loaded it. Returns how many there were.
    fn flush_all(&mut self, kind: TpmHt) -> Result<usize, Failure> {
        let first = u32::from(kind.value()) << 24;
        let listed = self.capability(TpmCap::Handles, first, limits::HANDLES_MAX)?;
        let mut reader = crate::wire::Reader::new(&listed);
        let count = reader.u32()?;
        for _ in 0..count {
            // Of this kind, or of policy sessions, which are listed with those for HMACs.
            match self.flush(reader.u32()?) {
                // Gone already, or never there: the list is nobody's word.
                Err(Failure::Code(code)) if code.base() == Some(TpmRcBase::Handle) => {}
                flushed => flushed?,
            }
        }
        Ok(usize::try_from(count).unwrap_or(usize::MAX))
    }

    /// The root key with the pinned name; without a pin the owner's, or else that of the standard template.
    fn find_root(&mut self) -> Result<Root, Failure> {
        let pin = self.pin;
        let fits = |public: &RootPublic| pin.is_none_or(|pin| pin == public.name());
        if let Some(public) = self.read_persistent_root()?
            && let Ok(public) = RootPublic::parse(&public)
            && fits(&public)
        {
            let handle = PERSISTENT_ROOT;
            return Ok(Root { handle, public });
        }
        for kind in [RootKind::Ec, RootKind::Rsa] {
            let (handle, public) = match self.create_root(kind) {
                Err(failure) if failure.is_refusal() && kind == RootKind::Ec => continue,
                result => result?,
            };
            match RootPublic::parse(&public) {
                Ok(public) if fits(&public) => return Ok(Root { handle, public }),
                _ => self.flush(handle)?,
            }
        }
        Err(failed(
            "this TPM is not the one that the HSM was created with, or it has been cleared since: its storage root key has another name. Connect the TPM that the HSM was created with; if that was cleared, the keys are gone, and the HSM must be made anew",
        )
        .into())
    }

    fn read_persistent_root(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        let command = Command::new(TpmCc::ReadPublic).handle(Entity::permanent(PERSISTENT_ROOT));
        match self.call_plain(&command) {
            Ok(response) => Ok(Some(response.reader().sized()?.to_vec())),
            Err(Failure::Code(code)) if code.base() == Some(TpmRcBase::Handle) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Makes the root key of the standard template, which is the same each time.
    fn create_root(&mut self, kind: RootKind) -> Result<(u32, Vec<u8>), Failure> {
        let command = Command::new(TpmCc::CreatePrimary)
            .handle(Entity::permanent(TpmRh::Owner.value()))
            .parameters(|out| {
                out.sized_with(|sensitive| {
                    sensitive.sized(&[]).sized(&[]);
                });
                out.sized(kind.template().as_slice());
                out.sized(&[]).u32(0); // no outside information, no PCRs
            })
            .handles_out(1);
        let mut empty_password = Writer::new();
        empty_password
            .u32(TpmRh::Pw.value())
            .sized(&[])
            .u8(TpmaSession::CONTINUE_SESSION.bits())
            .sized(&[]);
        let frame = command.frame(empty_password.as_slice())?;
        let response = match self.send(&command, &frame) {
            Err(failure) if failure.is_unauthorized() => {
                return Err(Error::new(
                    ErrorKind::Denied,
                    "the owner hierarchy of the TPM has a password; its owner must make the storage root key persistent at 0x81000001 (tpm2_createprimary, tpm2_evictcontrol)",
                )
                .into());
            }
            result => result?,
        };
        Ok((response.handle()?, response.reader().sized()?.to_vec()))
    }
}

/// Commands with which authorization values are checked.
const CHECKS: [TpmCc; 2] = [TpmCc::ObjectChangeAuth, TpmCc::PolicySecret];

/// The transport of a device that has ended.
#[derive(Debug)]
struct Nowhere;

impl Transport for Nowhere {
    fn transmit(&mut self, _command: &[u8], _within: Duration) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotConnected.into())
    }

    fn reconnect(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::NotConnected.into())
    }

    fn sharing(&self) -> Sharing {
        Sharing::Managed
    }
}

/// A ticket that says nothing: for what the TPM has not hashed.
pub(crate) fn no_ticket(out: &mut Writer) {
    out.u16(TpmSt::HashCheck.value())
        .u32(TpmRh::Null.value())
        .sized(&[]);
}
