//! Every limit of this crate, by name.

use std::time::Duration;

use tpm2_protocol::data::TpmCc;

/// Calls that wait for the TPM. Those beyond wait for their turn to wait.
pub(crate) const CALLS_MAX: usize = 256;

/// Times that a command is sent while the TPM says that it is busy.
pub(crate) const RETRIES_MAX: usize = 64;

/// The pause after the first of these; each is twice as long as the one before.
pub(crate) const RETRY_PAUSE_FIRST: Duration = Duration::from_millis(1);

/// No pause is longer.
pub(crate) const RETRY_PAUSE_MAX: Duration = Duration::from_millis(500);

/// Handles that are listed at once.
pub(crate) const HANDLES_MAX: u32 = 128;

/// Keys that stay loaded at once, however many the TPM says that it has places for: nobody has authenticated that.
pub(crate) const SLOTS_MAX: usize = 64;

/// What every TPM takes as data of one command, whatever it says.
pub(crate) const INPUT_LEN_MAX: usize = 1024;

/// Random bytes of one call to the device's thread.
pub(crate) const RANDOM_LEN_MAX: usize = 1024;

/// Blocks of [`INPUT_LEN_MAX`] that a cipher or a MAC does at a stretch, before other callers have their turn.
pub(crate) const BLOCKS_MAX: usize = 8;

/// How long a response may take (TCG PC Client Platform TPM Profile, command durations, and room to spare).
pub(crate) const fn response_time(code: TpmCc) -> Duration {
    Duration::from_secs(match code {
        // They look for primes.
        TpmCc::Create | TpmCc::CreatePrimary | TpmCc::CreateLoaded => 300,
        TpmCc::SelfTest | TpmCc::Clear | TpmCc::Import => 120,
        _ => 30,
    })
}
