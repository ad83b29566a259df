//! Threads that take turns: for the simulation of many nodes on one runtime of one thread.
//!
//! Synchronous work of a simulated node ([`Turns`]) has a thread of its own, but that thread runs
//! only while the runtime polls it and stands still while it waits for a future. So at any moment
//! one thread runs, and the order of everything is that of the runtime's queue. What is random
//! outside of our own dice (the keys of hash maps, from which Tokio draws its dice) is drawn from
//! the seed as well, see `entropy.rs`.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::{Pin, pin};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::runtime::{Builder, Handle};

use super::chance::Chance;
use super::entropy;
use super::tasks::NamedThread;

thread_local! {
    static SIMULATED: Cell<bool> = const { Cell::new(false) };
    static SEAT: RefCell<Option<Seat>> = const { RefCell::new(None) };
}

/// What a thread that takes turns has of whoever polls it.
struct Seat {
    go: Receiver<Waker>,
    say: Box<dyn Fn()>,
    waker: Waker,
}

/// Whether this thread belongs to a simulation.
pub(crate) fn is_simulated() -> bool {
    SIMULATED.get()
}

/// Whether this thread takes turns.
pub(super) fn is_seated() -> bool {
    SEAT.with_borrow(Option::is_some)
}

/// The wait of a thread that takes turns: it lets others run until the future has ended.
pub(super) fn wait<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        let waker = SEAT.with_borrow(|seat| seat.as_ref().map(|seat| seat.waker.clone()));
        let waker = waker.expect("a thread that takes turns");
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return value;
        }
        SEAT.with_borrow_mut(|seat| {
            let seat = seat.as_mut().expect("a thread that takes turns");
            (seat.say)();
            match seat.go.recv() {
                Ok(waker) => seat.waker = waker,
                // Nobody polls it any more: the simulation is over.
                Err(_) => loop {
                    std::thread::park();
                },
            }
        });
    }
}

/// Runs a simulation to its end, under a seed, on a clock that stands while anybody has something
/// to do. Its thread is one that nothing has run on before: what it draws is the seed's.
pub(crate) fn simulate<T: Send + 'static, F: Future<Output = T>>(
    seed: u64,
    simulation: impl FnOnce() -> F + Send + 'static,
) -> T {
    let thread = std::thread::Builder::new().name(format!("seed {seed}"));
    let running = thread.spawn(move || simulate_here(seed, simulation()));
    match running.expect("a thread").join() {
        Ok(value) => value,
        Err(panic) => resume_unwind(panic),
    }
}

fn simulate_here<T>(seed: u64, simulation: impl Future<Output = T>) -> T {
    SIMULATED.set(true);
    entropy::seed(seed);
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let result = runtime.block_on(simulation);
    // Threads that wait for what will not come stay where they are until the process ends.
    std::mem::forget(runtime);
    result
}

/// Does something a little later than now, as a device would: within so many milliseconds.
pub(crate) fn soon(within_ms: u64, work: impl FnOnce() + Send + 'static) {
    let micros = entropy::below(within_ms.saturating_mul(1000).saturating_add(1));
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_micros(micros)).await;
        work();
    });
}

enum Said<T> {
    Waits,
    Done(Result<T, Box<dyn Any + Send>>),
}

enum Stage<T> {
    Fresh(Box<dyn FnOnce() -> T + Send>),
    Running(SyncSender<Waker>, Receiver<Said<T>>),
    Over,
}

/// Synchronous work as a future.
pub(crate) struct Turns<T>(Stage<T>);

impl<T: Send + 'static> Turns<T> {
    pub(crate) fn new(work: impl FnOnce() -> T + Send + 'static) -> Self {
        Self(Stage::Fresh(Box::new(work)))
    }

    fn begin(work: Box<dyn FnOnce() -> T + Send>) -> Stage<T> {
        let (going, go) = sync_channel::<Waker>(1);
        let (say, said) = sync_channel::<Said<T>>(1);
        let (handle, seed) = (Handle::current(), entropy::next());
        let run = move || {
            SIMULATED.set(true);
            entropy::seed(seed);
            let _within = handle.enter();
            let Ok(waker) = go.recv() else { return };
            let waits = say.clone();
            let seat = Seat {
                go,
                say: Box::new(move || drop(waits.send(Said::Waits))),
                waker,
            };
            SEAT.set(Some(seat));
            let done = catch_unwind(AssertUnwindSafe(work));
            drop(say.send(Said::Done(done)));
        };
        let thread = NamedThread::spawn("turns", run).expect("a thread");
        // It ends by itself, or stands still until the process ends.
        thread.detach();
        Stage::Running(going, said)
    }
}

impl<T> Unpin for Turns<T> {}

impl<T: Send + 'static> Future for Turns<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let stage = std::mem::replace(&mut self.0, Stage::Over);
        let stage = match stage {
            Stage::Fresh(work) => Self::begin(work),
            other => other,
        };
        let Stage::Running(go, said) = stage else {
            panic!("polled after its end");
        };
        go.send(context.waker().clone()).expect("it listens");
        match said.recv().expect("it answers") {
            Said::Waits => {
                self.0 = Stage::Running(go, said);
                Poll::Pending
            }
            Said::Done(Ok(value)) => Poll::Ready(value),
            Said::Done(Err(panic)) => resume_unwind(panic),
        }
    }
}

/// The dice of whatever thread of a simulation rolls them.
#[derive(Debug, Default)]
pub(crate) struct TurnsChance;

impl Chance for TurnsChance {
    fn next_u64(&self) -> u64 {
        entropy::next()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::super::blocking::{on_thread, wait};
    use super::*;

    type Heard = Arc<Mutex<Vec<(u64, u32, usize)>>>;

    fn work(number: u64, heard: &Heard, handle: &Handle) {
        for round in 0..3 {
            let dice = TurnsChance.below(1000);
            wait(handle, tokio::time::sleep(Duration::from_millis(dice)));
            let map: std::collections::HashSet<usize> = (0..50).collect();
            let first = map.into_iter().next().unwrap();
            heard.lock().push((number, round, first));
        }
    }

    async fn several() -> (Vec<(u64, u32, usize)>, Duration) {
        let heard = Heard::default();
        let began = tokio::time::Instant::now();
        let start = |number| {
            let (heard, handle) = (Arc::clone(&heard), Handle::current());
            tokio::spawn(on_thread(move || work(number, &heard, &handle)))
        };
        let all: Vec<_> = (0..4).map(start).collect();
        for one in all {
            one.await.unwrap().unwrap();
        }
        let heard = std::mem::take(&mut *heard.lock());
        (heard, began.elapsed())
    }

    /// Would catch threads that run beside each other, and randomness that no seed orders.
    #[test]
    fn a_seed_repeats_the_order_of_threads_and_of_hash_maps() {
        let (first, took) = simulate(7, several);
        assert_eq!(first.len(), 12);
        assert!(took > Duration::from_millis(100) && took < Duration::from_secs(4));
        assert_eq!(simulate(7, several), (first.clone(), took));
        assert_ne!(simulate(8, several).0, first);
    }
}
