//! The notice that a client left while its request was queued or running.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Told by the loop as soon as the client leaves: FIN, reset, or gone without a word (keep-alive
/// probes). A client that only shuts down its sending side counts as gone too, as in Go's
/// net/http: nobody who still wants a streamed answer does that, and a closed laptop looks the same.
#[derive(Clone)]
pub(crate) struct HangUp(Arc<Shared>);

type Callback = Box<dyn FnOnce() + Send>;

struct Shared {
    gone: AtomicBool,
    watch: Mutex<Watch>,
}

enum Watch {
    Open(Option<Callback>),
    /// The reply is finished: who leaves now leaves nothing behind.
    Over,
}

impl HangUp {
    pub(super) fn new() -> HangUp {
        let watch = Mutex::new(Watch::Open(None));
        HangUp(Arc::new(Shared {
            gone: AtomicBool::new(false),
            watch,
        }))
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.0.gone.load(Ordering::Acquire)
    }

    /// Runs `callback` once when the client leaves, at once if it has left; it replaces an
    /// earlier one, and never runs after the reply is finished.
    ///
    /// It runs in the loop thread, so it must be short and must not block, and it must not finish
    /// or drop this very reply: that waits for the callback to return.
    pub(crate) fn on_gone(&self, callback: Callback) {
        let mut watch = self.lock();
        match &mut *watch {
            Watch::Over => {}
            Watch::Open(_) if self.is_gone() => {
                drop(watch);
                callback();
            }
            Watch::Open(slot) => {
                let replaced = slot.replace(callback);
                // What the old callback owns is dropped outside the lock.
                drop(watch);
                drop(replaced);
            }
        }
    }

    pub(super) fn tell(&self) {
        let mut watch = self.lock();
        self.0.gone.store(true, Ordering::Release);
        if let Watch::Open(slot) = &mut *watch
            && let Some(callback) = slot.take()
        {
            // A panic in it has been printed by the panic hook; the loop serves everybody else.
            let _ = catch_unwind(AssertUnwindSafe(callback));
        }
    }

    /// From here on no callback runs.
    pub(super) fn finish(&self) {
        let watch = std::mem::replace(&mut *self.lock(), Watch::Over);
        drop(watch);
    }

    fn lock(&self) -> MutexGuard<'_, Watch> {
        self.0.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counter() -> (
        Arc<Mutex<Vec<&'static str>>>,
        impl Fn(&'static str) -> Callback,
    ) {
        let calls = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&calls);
        let callback = move |name| -> Callback {
            let sink = Arc::clone(&sink);
            Box::new(move || sink.lock().unwrap().push(name))
        };
        (calls, callback)
    }

    #[test]
    fn callback_runs_once_when_the_client_leaves() {
        let (calls, callback) = counter();
        let hang_up = HangUp::new();
        hang_up.on_gone(callback("a"));
        assert!(!hang_up.is_gone());
        hang_up.tell();
        hang_up.tell();
        assert!(hang_up.is_gone());
        assert_eq!(*calls.lock().unwrap(), ["a"]);
    }

    #[test]
    fn later_callback_replaces_the_earlier_one() {
        let (calls, callback) = counter();
        let hang_up = HangUp::new();
        hang_up.on_gone(callback("a"));
        hang_up.on_gone(callback("b"));
        hang_up.tell();
        assert_eq!(*calls.lock().unwrap(), ["b"]);
    }

    #[test]
    fn callback_for_a_gone_client_runs_at_once() {
        let (calls, callback) = counter();
        let hang_up = HangUp::new();
        hang_up.tell();
        hang_up.on_gone(callback("a"));
        assert_eq!(*calls.lock().unwrap(), ["a"]);
    }

    #[test]
    fn no_callback_runs_after_the_reply_is_finished() {
        let (calls, callback) = counter();
        let hang_up = HangUp::new();
        hang_up.on_gone(callback("a"));
        hang_up.finish();
        hang_up.tell();
        hang_up.on_gone(callback("b"));
        assert_eq!(*calls.lock().unwrap(), Vec::<&str>::new());
    }

    #[test]
    fn panic_in_a_callback_stays_there() {
        let hang_up = HangUp::new();
        hang_up.on_gone(Box::new(|| panic!("on purpose")));
        hang_up.tell();
        assert!(hang_up.is_gone());
    }
}
