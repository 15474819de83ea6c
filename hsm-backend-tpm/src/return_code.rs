//! The TPM's return codes: one table, which says what each means for the caller and what the device does about it.

use hsm_core::ErrorKind;
use tpm2_protocol::data::{TpmRc, TpmRcBase, TpmRcIndex};

/// What the device does about a return code before anybody hears of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Remedy {
    /// Nothing.
    None,
    /// Send the same command again, after a pause: the TPM has not begun it.
    Again,
    /// Flush what was not used for longest, and send the command again.
    MakeRoom,
    /// Flush sessions, and start again.
    EndSessions,
    /// The TPM has forgotten what was loaded: load it again.
    Rebuild,
    /// Say how long to wait.
    Wait,
}

/// A return code other than success.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct ReturnCode(u32);

impl ReturnCode {
    /// `None` for success.
    pub(crate) fn new(code: u32) -> Option<Self> {
        (code != 0).then_some(Self(code))
    }

    /// The code without the number of the handle, parameter or session; `None` if it is the vendor's or unknown.
    pub(crate) fn base(self) -> Option<TpmRcBase> {
        self.decoded().map(|code| code.base())
    }

    pub(crate) fn kind(self) -> ErrorKind {
        row(self.base()).0
    }

    pub(crate) fn remedy(self) -> Remedy {
        match (self.base(), self.decoded()) {
            // A session that is gone is a value that is wrong.
            (Some(TpmRcBase::Value | TpmRcBase::Handle), Some(TpmRc::Fmt1(code)))
                if matches!(
                    code.index,
                    Some(TpmRcIndex::Session(_) | TpmRcIndex::Handle(_))
                ) =>
            {
                Remedy::Rebuild
            }
            (base, _) => row(base).1,
        }
    }

    /// Whether the TPM says that an authorization, or the HMAC of a session, is wrong.
    pub(crate) fn is_unauthorized(self) -> bool {
        matches!(self.base(), Some(TpmRcBase::AuthFail | TpmRcBase::BadAuth))
    }

    /// Whether the TPM names a handle, parameter or session that is at fault (format one), rather than its own state.
    pub(crate) fn is_about_input(self) -> bool {
        self.0 & tpm2_protocol::data::TPM_RC_FMT1 != 0
    }

    fn decoded(self) -> Option<TpmRc> {
        TpmRc::try_from(self.0).ok()
    }
}

/// The name in the specification, or the number.
impl std::fmt::Display for ReturnCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.decoded() {
            Some(code) => code.fmt(f),
            None => write!(f, "return code {:#x}", self.0),
        }
    }
}

/// The table. What is not here is a failure of the device.
fn row(base: Option<TpmRcBase>) -> (ErrorKind, Remedy) {
    use ErrorKind as K;
    use TpmRcBase as B;
    let Some(base) = base else {
        return (K::DeviceFailed, Remedy::None);
    };
    match base {
        // Not now.
        B::Retry | B::Yielded | B::Testing | B::Canceled | B::NvRate => {
            (K::DeviceFailed, Remedy::Again)
        }
        B::Lockout => (K::LockedOut, Remedy::Wait),

        // No place.
        B::ObjectMemory | B::ObjectHandles | B::Memory => (K::DeviceFailed, Remedy::MakeRoom),
        B::SessionMemory | B::SessionHandles | B::ContextGap | B::TooManyContexts => {
            (K::DeviceFailed, Remedy::EndSessions)
        }

        // Not there any more: the TPM was reset.
        B::Initialize
        | B::ReferenceH0
        | B::ReferenceH1
        | B::ReferenceH2
        | B::ReferenceS0
        | B::ReferenceS1
        | B::ReferenceS2
        | B::Reboot => (K::DeviceFailed, Remedy::Rebuild),

        // Not ours, or edited. (That an authorization is wrong is the same only where one is checked.)
        B::Binding | B::Integrity | B::Sensitive | B::Private => (K::Damaged, Remedy::None),

        // Not built in.
        B::Asymmetric
        | B::CommandCode
        | B::Curve
        | B::Hash
        | B::Kdf
        | B::KeySize
        | B::Mgf
        | B::Mode
        | B::Scheme
        | B::Symmetric => (K::Unsupported, Remedy::None),

        // Not allowed.
        B::AuthUnavailable
        | B::Disabled
        | B::Hierarchy
        | B::Locality
        | B::Policy
        | B::PolicyFail
        | B::Pp => (K::Denied, Remedy::None),

        B::EccPoint => (K::InvalidInput, Remedy::None),

        _ => (K::DeviceFailed, Remedy::None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(code: u32) -> ReturnCode {
        ReturnCode::new(code).unwrap()
    }

    #[test]
    fn success_is_no_code() {
        assert_eq!(ReturnCode::new(0), None);
    }

    #[test]
    fn codes_mean_what_the_specification_says() {
        for (number, kind, remedy, name) in [
            (
                0x922,
                ErrorKind::DeviceFailed,
                Remedy::Again,
                "TPM_RC_RETRY",
            ),
            (
                0x908,
                ErrorKind::DeviceFailed,
                Remedy::Again,
                "TPM_RC_YIELDED",
            ),
            (
                0x90a,
                ErrorKind::DeviceFailed,
                Remedy::Again,
                "TPM_RC_TESTING",
            ),
            (
                0x902,
                ErrorKind::DeviceFailed,
                Remedy::MakeRoom,
                "TPM_RC_OBJECT_MEMORY",
            ),
            (
                0x903,
                ErrorKind::DeviceFailed,
                Remedy::EndSessions,
                "TPM_RC_SESSION_MEMORY",
            ),
            (0x921, ErrorKind::LockedOut, Remedy::Wait, "TPM_RC_LOCKOUT"),
            (
                0x910,
                ErrorKind::DeviceFailed,
                Remedy::Rebuild,
                "TPM_RC_REFERENCE_H0",
            ),
            (
                0x918,
                ErrorKind::DeviceFailed,
                Remedy::Rebuild,
                "TPM_RC_REFERENCE_S0",
            ),
            (
                0x100,
                ErrorKind::DeviceFailed,
                Remedy::Rebuild,
                "TPM_RC_INITIALIZE",
            ),
            (
                0x9a2,
                ErrorKind::DeviceFailed,
                Remedy::None,
                "TPM_RC_BAD_AUTH",
            ),
            (0x1df, ErrorKind::Damaged, Remedy::None, "TPM_RC_INTEGRITY"),
            (
                0x18b,
                ErrorKind::DeviceFailed,
                Remedy::Rebuild,
                "TPM_RC_HANDLE",
            ),
            (
                0x984,
                ErrorKind::DeviceFailed,
                Remedy::Rebuild,
                "TPM_RC_VALUE",
            ),
            (0x1c4, ErrorKind::DeviceFailed, Remedy::None, "TPM_RC_VALUE"),
            (
                0x143,
                ErrorKind::Unsupported,
                Remedy::None,
                "TPM_RC_COMMAND_CODE",
            ),
            (0x120, ErrorKind::Denied, Remedy::None, "TPM_RC_DISABLED"),
            (
                0x101,
                ErrorKind::DeviceFailed,
                Remedy::None,
                "TPM_RC_FAILURE",
            ),
        ] {
            let code = code(number);
            assert_eq!(code.kind(), kind, "{code}");
            assert_eq!(code.remedy(), remedy, "{code}");
            assert!(code.to_string().contains(name), "{code}");
        }
    }

    #[test]
    fn unknown_codes_print_their_number() {
        assert_eq!(code(0x5001).to_string(), "return code 0x5001");
        assert_eq!(code(0x5001).kind(), ErrorKind::DeviceFailed);
    }
}
