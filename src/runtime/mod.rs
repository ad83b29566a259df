//! The outside world, handed in: the only folder that reads a clock, rolls dice or starts threads
//! and tasks. Everything above takes these as arguments, so that a simulation can own them.

mod backoff;
mod blocking;
mod budget;
mod cancel;
mod chance;
mod clock;
#[cfg(test)]
mod entropy;
mod machine;
mod pool;
mod register;
mod rules;
mod rush;
mod setting;
mod tasks;
mod telemetry;
mod throttle;
#[cfg(test)]
mod turns;

pub use backoff::{Backoff, jittered};
pub use blocking::{on_thread, wait};
pub use budget::{Budget, BudgetError, BudgetLimits, Reservation, SharedBudget};
pub use cancel::{CancelToken, Cancelled};
pub use chance::{Chance, SeededChance, SystemChance};
pub use clock::{Clock, ManualClock, SystemClock};
pub use machine::{
    DeviceWrites, boot_id, cores, cpu_seconds, device_writes, file_system, host_name, memory_total,
    open_files, open_files_max, outward_address, page_bytes, resident_memory, threads,
    written_bytes,
};
pub use pool::{Pool, PoolError};
pub use register::{Register, Registered, Underway};
pub use rules::{Rule, holds};
pub use rush::{Hurrying, Pace, Rush};
pub use setting::{
    ByteSize, KeyReference, RawValue, Section, Setting, parse_duration_ms, show_duration,
};
pub use tasks::{NamedThread, pause};
pub use telemetry::{LogError, LogFormat, LogLevel, LogSettings, check_level, start_logging};
pub use throttle::Throttle;
#[cfg(test)]
pub(crate) use turns::{TurnsChance, is_simulated, simulate, soon};
