//! The way to one peer: where it is, a connection for each lane, and when to try again.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::connection::Connection;
use super::lane::Lane;
use super::limits::{RETRY_FIRST, RETRY_LONGEST};
use super::wiring::PeerWiring;
use crate::runtime::Backoff;

/// The way to a peer.
pub(super) struct Link {
    wiring: PeerWiring,
    addresses: Mutex<Arc<[String]>>,
    lanes: [Way; Lane::COUNT],
}

/// One lane of it.
struct Way {
    calls: Arc<Semaphore>,
    place: Mutex<Place>,
}

struct Place {
    state: State,
    backoff: Backoff,
    /// Raised when what is being connected is not wanted any more.
    turn: u64,
}

type Outcome = Option<Result<Arc<Connection>, String>>;

enum State {
    Idle,
    Connecting(watch::Receiver<Outcome>),
    Up(Arc<Connection>),
    Down { until: Duration, why: String },
}

impl Link {
    pub(super) fn new(wiring: PeerWiring, addresses: &[String]) -> Self {
        let way = |lane: Lane| Way {
            calls: Arc::new(Semaphore::new(lane.calls_max())),
            place: Mutex::new(Place {
                state: State::Idle,
                backoff: Backoff::new(RETRY_FIRST, RETRY_LONGEST),
                turn: 0,
            }),
        };
        Self {
            wiring,
            addresses: Mutex::new(addresses.into()),
            lanes: [way(Lane::Talk), way(Lane::Append), way(Lane::Bulk)],
        }
    }

    /// The peer is elsewhere: what leads to other addresses is closed.
    pub(super) fn moved(&self, addresses: &[String]) {
        {
            let mut known = self.addresses.lock();
            if **known == *addresses {
                return;
            }
            *known = addresses.into();
        }
        for way in &self.lanes {
            let mut place = way.place.lock();
            if let State::Up(connection) = &place.state {
                if addresses.iter().any(|known| known == connection.address()) {
                    continue;
                }
                connection.close();
            }
            place.state = State::Idle;
            place.backoff.reset();
            place.turn += 1;
        }
    }

    /// A place among the calls of a lane; waits for one.
    pub(super) async fn enter(&self, lane: Lane) -> Result<OwnedSemaphorePermit, String> {
        let calls = self.lanes.get(lane.place()).map(|way| &way.calls);
        let calls = calls.ok_or("there is no such lane")?;
        let permit = Arc::clone(calls).acquire_owned().await;
        permit.map_err(|error| error.to_string())
    }

    /// A connection that can be used.
    pub(super) async fn connection(
        self: &Arc<Self>,
        lane: Lane,
    ) -> Result<Arc<Connection>, String> {
        let mut coming = match self.look(lane)? {
            Look::Here(connection) => return Ok(connection),
            Look::Coming(coming) => coming,
        };
        let gone = || "connecting was called off: the peer has another address now".to_owned();
        let outcome = coming.wait_for(Option::is_some).await;
        outcome
            .ok()
            .and_then(|outcome| outcome.clone())
            .unwrap_or_else(|| Err(gone()))
    }

    fn look(self: &Arc<Self>, lane: Lane) -> Result<Look, String> {
        let now = self.wiring.clock.elapsed();
        let way = self.lanes.get(lane.place());
        let way = way.ok_or("there is no such lane")?;
        let mut place = way.place.lock();
        match &place.state {
            State::Up(connection) if connection.is_usable(now) => {
                return Ok(Look::Here(Arc::clone(connection)));
            }
            // Something accepts connections there and ends them before it has answered.
            State::Up(connection) if connection.is_over() && !connection.is_proved() => {
                let why = format!("{} closed the connection", connection.address());
                place.down(&self.wiring, why.clone());
                return Err(why);
            }
            State::Connecting(coming) => return Ok(Look::Coming(coming.clone())),
            State::Down { until, why } if now < *until => return Err(why.clone()),
            State::Up(connection) if connection.is_proved() => place.backoff.reset(),
            _ => {}
        }
        let addresses = Arc::clone(&self.addresses.lock());
        if addresses.is_empty() {
            return Err("no address of it is known".to_owned());
        }
        let (sender, coming) = watch::channel(None);
        place.turn += 1;
        place.state = State::Connecting(coming.clone());
        let (link, turn) = (Arc::clone(self), place.turn);
        // Not by the caller: its patience may be shorter than a connection takes.
        tokio::spawn(async move { link.connect(lane, turn, &addresses, &sender).await });
        Ok(Look::Coming(coming))
    }

    async fn connect(
        &self,
        lane: Lane,
        turn: u64,
        addresses: &[String],
        told: &watch::Sender<Outcome>,
    ) {
        let mut outcome = Err(String::new());
        for address in addresses {
            outcome = Connection::open(address, &self.wiring).await.map(Arc::new);
            if outcome.is_ok() {
                break;
            }
        }
        let Some(way) = self.lanes.get(lane.place()) else {
            return;
        };
        let mut place = way.place.lock();
        if place.turn != turn {
            if let Ok(connection) = outcome {
                connection.close();
            }
            return;
        }
        match &outcome {
            Ok(connection) => place.state = State::Up(Arc::clone(connection)),
            Err(why) => place.down(&self.wiring, why.clone()),
        }
        told.send_replace(Some(outcome));
    }
}

enum Look {
    Here(Arc<Connection>),
    Coming(watch::Receiver<Outcome>),
}

impl Place {
    fn down(&mut self, wiring: &PeerWiring, why: String) {
        let pause = self.backoff.pause(&*wiring.chance);
        let until = wiring.clock.elapsed() + pause;
        self.state = State::Down { until, why };
    }
}
