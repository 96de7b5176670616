//! What the kernel knows about this process, for the `process_*` families.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::metrics::{Families, Family, Value};

/// The kernel shows times in these units to every program (`USER_HZ`, a part of its interface).
const TICKS_PER_SECOND: f64 = 100.0;

/// Adds what can be read; what cannot is left out. Reads files: for the control thread.
pub fn collect(families: &mut Families) {
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    if let Ok(cpu) = Duration::try_from(cpu) {
        families.counter(Family::ProcessCpu, &[], cpu);
    }
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    for (family, key) in [(Family::ProcessResident, "VmRSS:"), (Family::ProcessVirtual, "VmSize:")]
    {
        if let Some(kibibytes) = number_after(&status, key) {
            families.gauge(family, &[], kibibytes.saturating_mul(1024));
        }
    }
    if let Some(threads) = number_after(&status, "Threads:") {
        families.gauge(Family::ProcessThreads, &[], threads);
    }
    if let Ok(entries) = fs::read_dir("/proc/self/fd") {
        // Reading the folder takes a descriptor of its own.
        families.gauge(Family::ProcessOpenFds, &[], entries.count().saturating_sub(1));
    }
    let limit = getrlimit(Resource::Nofile).current;
    families.gauge(Family::ProcessMaxFds, &[], limit.map_or(f64::INFINITY, Value::float));
    if let Some(start) = start_time() {
        families.gauge(Family::ProcessStart, &[], start);
    }
}

/// Resident memory of this process, to be read often.
#[derive(Debug)]
pub struct Resident(File);

impl Resident {
    /// Bytes of `/proc/self/status` (proc(5)) that are read: the line is in its first half.
    const MOST: usize = 2048;

    /// Opens what it is read from.
    ///
    /// # Errors
    /// Where that is not there, or tells nothing.
    pub fn open() -> io::Result<Self> {
        let resident = Self(File::open("/proc/self/status")?);
        resident.read()?;
        Ok(resident)
    }

    /// Bytes, the program's own code included.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn read(&self) -> io::Result<u64> {
        let mut text = [0; Self::MOST];
        let length = self.0.read_at(&mut text, 0)?;
        let text = String::from_utf8_lossy(text.get(..length).unwrap_or_default());
        let kibibytes = number_after(&text, "VmRSS:");
        let told = kibibytes.ok_or_else(|| io::Error::other("no VmRSS in /proc/self/status"))?;
        Ok(told.saturating_mul(1024))
    }
}

/// Seconds since 1970: when the machine began, and how long after that we did.
fn start_time() -> Option<f64> {
    let machine = fs::read_to_string("/proc/stat").ok()?;
    let began = u32::try_from(number_after(&machine, "btime")?).ok()?;
    let process = fs::read_to_string("/proc/self/stat").ok()?;
    Some(f64::from(began) + ticks_until_start(&process)? / TICKS_PER_SECOND)
}

/// The 22nd field; the second may hold blanks and parentheses, the others cannot.
fn ticks_until_start(stat: &str) -> Option<f64> {
    let (_, after_name) = stat.rsplit_once(") ")?;
    after_name.split(' ').nth(19)?.parse().ok()
}

/// The number that follows `key` at the start of a line.
fn number_after(text: &str, key: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(key))?;
    value.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_with_parentheses_shifts_no_field() {
        let stat = "7 (a) b) S 1 7 7 0 -1 0 0 0 0 0 1 2 0 0 20 0 3 0 4242 1000 5";
        assert_eq!(ticks_until_start(stat), Some(4242.0));
    }

    #[test]
    fn a_number_is_found_by_its_key_at_the_start_of_a_line() {
        assert_eq!(number_after("NoVmRSS: 1 kB\nVmRSS:\t  12 kB\n", "VmRSS:"), Some(12));
        assert_eq!(number_after("VmRSS: many", "VmRSS:"), None);
    }

    #[test]
    fn resident_memory_is_read_as_often_as_it_is_asked_for() {
        let resident = Resident::open().unwrap();
        for _ in 0..3 {
            let bytes = resident.read().unwrap();
            assert!((1 << 20..1 << 40).contains(&bytes), "{bytes}");
        }
    }

    #[test]
    fn this_process_shows_all_of_it() {
        let mut families = Families::default();
        collect(&mut families);
        assert_eq!(families.finish().len(), 7);
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
        assert!(start_time().is_some_and(|start| start > 0.0 && start < now + 5.0));
    }
}
