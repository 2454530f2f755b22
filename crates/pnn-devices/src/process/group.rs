//! A process with all that it has started (`sh -c`, `conda run` and scripts start others), as one group. Where the system has no
//! groups (it is no unix), only the process itself is ended.

#[cfg(not(unix))]
pub(super) use elsewhere::{ended, kill, of_its_own, terminate};
#[cfg(unix)]
pub(super) use unix::{ended, kill, of_its_own, terminate};

#[cfg(unix)]
mod unix {
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::process::{Child, Command, ExitStatus};

    use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

    /// What it starts, and what that starts, will be a group.
    pub(in crate::process) fn of_its_own(command: &mut Command) {
        command.process_group(0);
    }

    /// Asks the group to end. The process must not have been reaped: its number may be another's by then.
    pub(in crate::process) fn terminate(child: &mut Child) {
        let _ = kill_process_group(Pid::from_child(child), Signal::TERM);
    }

    /// Ends the group. The process must not have been reaped.
    pub(in crate::process) fn kill(child: &mut Child) {
        let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
    }

    /// How the process ended, if it has. It is not reaped.
    pub(in crate::process) fn ended(child: &mut Child) -> Option<String> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let Ok(status) = waitid(WaitId::Pid(Pid::from_child(child)), options) else {
            // Where SIGCHLD is ignored the system reaps by itself.
            return Some("nothing is known of how".into());
        };
        let status = status?;
        // As in what `wait` gives: the code above the signal.
        let code = status.exit_status().map(|code| code << 8).or(status.terminating_signal())?;
        Some(ExitStatus::from_raw(code).to_string())
    }
}

#[cfg(not(unix))]
mod elsewhere {
    use std::process::{Child, Command};

    pub(in crate::process) fn of_its_own(_: &mut Command) {}

    pub(in crate::process) fn terminate(_: &mut Child) {}

    pub(in crate::process) fn kill(child: &mut Child) {
        let _ = child.kill();
    }

    pub(in crate::process) fn ended(child: &mut Child) -> Option<String> {
        child.try_wait().ok().flatten().map(|status| status.to_string())
    }
}
