//! Reach the processes that `mpirun` started, by Open MPI's C library: what `World::from_env` is made of.
//!
//! Six functions are declared here instead of through a crate with generated bindings: those need a C compiler's library at build
//! time, and features of shared build dependencies by which all tables would be compiled a second time.

use super::world::Ranks;
use crate::error::{Error, Result};
use std::ffi::{c_char, c_int, c_void};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// A handle of Open MPI is the address of one of its structures.
#[repr(C)]
struct Handle {
    _opaque: [u8; 0],
}

#[link(name = "mpi")]
unsafe extern "C" {
    static ompi_mpi_comm_world: Handle;
    static ompi_mpi_byte: Handle;
    fn MPI_Initialized(flag: *mut c_int) -> c_int;
    fn MPI_Finalized(flag: *mut c_int) -> c_int;
    fn MPI_Init_thread(argc: *mut c_int, argv: *mut *mut *mut c_char, required: c_int, provided: *mut c_int) -> c_int;
    fn MPI_Finalize() -> c_int;
    fn MPI_Abort(comm: *const Handle, code: c_int) -> c_int;
    fn MPI_Comm_rank(comm: *const Handle, rank: *mut c_int) -> c_int;
    fn MPI_Comm_size(comm: *const Handle, size: *mut c_int) -> c_int;
    fn MPI_Allgatherv(
        send: *const c_void,
        sent: c_int,
        of: *const Handle,
        receive: *mut c_void,
        received: *const c_int,
        places: *const c_int,
        of: *const Handle,
        comm: *const Handle,
    ) -> c_int;
}

/// One call at a time from any thread.
const SERIALIZED: c_int = 2;

/// Bytes that one call moves in all: counts are 32 bits wide.
const CHUNK: usize = 1 << 30;

fn world() -> *const Handle {
    &raw const ompi_mpi_comm_world
}

/// All processes; MPI ends when the last value is dropped.
struct Processes {
    rank: usize,
    size: usize,
    turn: Mutex<()>,
}

/// The processes of this program's `mpirun`, shared by all who ask.
pub(super) fn ranks() -> Result<Arc<dyn Ranks>> {
    static KNOWN: Mutex<Weak<Processes>> = Mutex::new(Weak::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(there) = known.upgrade() {
        return Ok(there);
    }
    let (mut over, mut begun, mut provided) = (0, 0, 0);
    // SAFETY: both may be called at any time, with the address of a number.
    done("MPI_Initialized", unsafe { MPI_Finalized(&mut over).max(MPI_Initialized(&mut begun)) })?;
    if over != 0 {
        return Err(Error::param("MPI", "finalised", "one `World` that lives as long as the program"));
    }
    if begun == 0 {
        let (count, words) = (std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: null stands for no arguments; called once, before any other function.
        done("MPI_Init_thread", unsafe { MPI_Init_thread(count, words, SERIALIZED, &mut provided) })?;
        if provided < SERIALIZED {
            return Err(Error::param("MPI", format!("thread level {provided}"), "an MPI that any thread may call"));
        }
    }
    let (mut rank, mut size) = (0, 0);
    // SAFETY: MPI is initialised, the communicator is its own.
    done("MPI_Comm_rank", unsafe { MPI_Comm_rank(world(), &mut rank).max(MPI_Comm_size(world(), &mut size)) })?;
    let all = Arc::new(Processes { rank: rank as usize, size: size as usize, turn: Mutex::new(()) });
    *known = Arc::downgrade(&all);
    Ok(all)
}

fn done(what: &'static str, code: c_int) -> Result<()> {
    if code == 0 { Ok(()) } else { Err(Error::param(what, format!("error {code}"), "success (0)")) }
}

impl Processes {
    /// At most [`CHUNK`] bytes from all.
    fn gather_some(&self, own: &[u8], lengths: &[usize]) -> Result<Vec<Vec<u8>>> {
        let counts: Vec<c_int> = lengths.iter().map(|n| *n as c_int).collect();
        let places: Vec<c_int> = counts
            .iter()
            .scan(0, |at, n| {
                let here = *at;
                *at += n;
                Some(here)
            })
            .collect();
        let mut all = vec![0u8; lengths.iter().sum()];
        // SAFETY: the buffers hold as many bytes as the counts say, and live until the call returns.
        let code = unsafe {
            MPI_Allgatherv(
                own.as_ptr().cast(),
                own.len() as c_int,
                &raw const ompi_mpi_byte,
                all.as_mut_ptr().cast(),
                counts.as_ptr(),
                places.as_ptr(),
                &raw const ompi_mpi_byte,
                world(),
            )
        };
        done("MPI_Allgatherv", code)?;
        Ok(places.iter().zip(lengths).map(|(at, n)| all[*at as usize..*at as usize + n].to_vec()).collect())
    }
}

impl Ranks for Processes {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let lengths = self.gather_some(&(own.len() as u64).to_le_bytes(), &vec![8; self.size])?;
        let lengths: Vec<usize> =
            lengths.iter().map(|b| u64::from_le_bytes(b[..].try_into().unwrap_or_default()) as usize).collect();
        let most = CHUNK / self.size;
        let mut all: Vec<Vec<u8>> = vec![Vec::new(); self.size];
        let longest = lengths.iter().copied().max().unwrap_or(0);
        for from in (0..longest).step_by(most) {
            let part = |n: usize| n.min(from + most).saturating_sub(from);
            let own = &own[from.min(own.len())..(from + most).min(own.len())];
            let parts: Vec<usize> = lengths.iter().map(|n| part(*n)).collect();
            for (all, more) in all.iter_mut().zip(self.gather_some(own, &parts)?) {
                all.extend(more);
            }
        }
        Ok(all)
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        // SAFETY: MPI is initialised, and nobody holds these processes any more. A thread that panics would leave the other
        // processes waiting: all of them end.
        unsafe {
            match std::thread::panicking() {
                true => MPI_Abort(world(), 1),
                false => MPI_Finalize(),
            };
        }
    }
}
