//! One run at a time that may renew the login which several tenants share: two at once would leave all of them
//! logged out.

use std::{
    collections::VecDeque,
    ops::ControlFlow,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{Gateway, answer::Patience, job::Job, progress::Ending};
use crate::api::{ApiError, ErrorKind};

/// Who may renew the login, and who waits to, in the order in which they came.
#[derive(Default)]
pub(crate) struct Renewals {
    line: Mutex<Line>,
    left: Condvar,
}

#[derive(Default)]
struct Line {
    waiting: VecDeque<u64>,
    /// So many came.
    count: u64,
}

/// The right to renew; dropping it lets the next one in.
pub(super) struct Renewing<'a> {
    renewals: &'a Renewals,
    own: u64,
}

/// Waits for other runs that may renew the login it shares, as in the queue and with the same patience. A count asks the
/// API too, and a process renews the login as soon as it starts (seen with 2.1.330, whose login had expired).
///
/// # Errors
/// How it ended, when it is not to run.
pub(super) fn alone_with_login<'g>(
    (gateway, job): (&'g Gateway, &mut Job),
    mut called_off: impl FnMut(&mut Job) -> Option<Ending>,
) -> Result<Option<Renewing<'g>>, Ending> {
    if !gateway.may_renew_a_login(job) {
        return Ok(None);
    }
    let wait_max = job.served.config.cli.queue_timeout;
    let until = Instant::now() + wait_max;
    let look = || {
        if let Some(ending) = called_off(job) {
            return ControlFlow::Break(ending);
        }
        let now = Instant::now();
        if now >= until {
            return ControlFlow::Break(Ending::Failed(others_renew(wait_max)));
        }
        // Who is gone is seen with the next look.
        let _ = job.answer.keep_alive(now, Patience::None);
        ControlFlow::Continue(())
    };
    gateway.renewals.enter(look).map(Some)
}

fn others_renew(wait_max: Duration) -> ApiError {
    let text = format!(
        "the request waited {} s (cli.queue_timeout) for other runs that may renew the login which it shares with them; try again later",
        wait_max.as_secs()
    );
    ApiError::new(ErrorKind::Overloaded, text).retry_after(Duration::from_secs(30))
}

/// How often one that waits looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(50);

impl Renewals {
    /// Waits until nobody else may renew it, and looks again and again whether it is to go on.
    ///
    /// # Errors
    /// Why it is not.
    pub(super) fn enter<Why>(
        &self,
        mut look: impl FnMut() -> ControlFlow<Why>,
    ) -> Result<Renewing<'_>, Why> {
        let mut line = self.lock();
        let own = line.count;
        line.count += 1;
        line.waiting.push_back(own);
        let renewing = Renewing {
            renewals: self,
            own,
        };
        while line.waiting.front() != Some(&own) {
            let waited = self.left.wait_timeout(line, LOOK);
            drop(waited.unwrap_or_else(PoisonError::into_inner).0);
            if let ControlFlow::Break(why) = look() {
                return Err(why);
            }
            line = self.lock();
        }
        drop(line);
        Ok(renewing)
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        // It is whole between any two of its statements.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Renewing<'_> {
    fn drop(&mut self) {
        let own = self.own;
        self.renewals.lock().waiting.retain(|it| *it != own);
        self.renewals.left.notify_all();
    }
}
