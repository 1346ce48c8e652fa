//! Find the GPU of a test: a real one, else the stand-in of `cuda.cpp`, compiled once and loaded into this process.

use jarzynski::tch::Device;
use std::collections::hash_map::DefaultHasher;
use std::ffi::{CString, c_char, c_int, c_void};
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

unsafe extern "C" {
    fn dlopen(name: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
}

const SOURCE: &str = include_str!("cuda.cpp");

/// How often numbers were read from the device, how many, how often some were sent to it, how many; operations.
pub type Counts = [u64; 5];
type Count = extern "C" fn(*mut Counts);

/// The device of one test, which has it for itself: the counts of transfers are the process's.
pub struct Gpu {
    pub device: Device,
    count: Option<Count>,
    _alone: MutexGuard<'static, ()>,
}

impl Gpu {
    /// The real or the stand-in device.
    ///
    /// Panics where there is neither: the stand-in needs the C++ compiler that building tch needs too.
    pub fn get() -> Gpu {
        static ALONE: Mutex<()> = Mutex::new(());
        static FOUND: OnceLock<Result<Option<Count>, String>> = OnceLock::new();
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        // libtorch asks only once what there is: the stand-in must be there before anybody else asks
        let found = FOUND.get_or_init(find).clone();
        match found.and_then(|count| Ok((jarzynski::device("cuda:0").map_err(|e| e.to_string())?, count))) {
            Ok((device, count)) => Gpu { device, count, _alone: alone },
            Err(why) => panic!("neither a GPU nor a stand-in for one: {why}"),
        }
    }

    /// Whether it is one.
    #[allow(dead_code)] // not asked by every test
    pub fn is_real(&self) -> bool {
        self.count.is_none()
    }

    /// What `f` moves between device and host and asks of the device; `None` on a real GPU, which does not count.
    pub fn counts<T>(&self, f: impl FnOnce() -> T) -> (T, Option<Counts>) {
        let now = || {
            self.count.map(|count| {
                let mut now = [0; 5];
                count(&mut now);
                now
            })
        };
        let before = now();
        let out = f();
        (out, now().zip(before).map(|(a, b)| std::array::from_fn(|i| a[i] - b[i])))
    }
}

/// The stand-in's counter; `None` where libtorch was built for real GPUs.
fn find() -> Result<Option<Count>, String> {
    let lib = libtorch()?;
    if lib.join("libtorch_cuda.so").exists() {
        return Ok(None);
    }
    let built = build(&lib)?;
    let name = CString::new(built.display().to_string()).map_err(|e| e.to_string())?;
    // SAFETY: a library that registers operations as it is loaded and stays loaded; its one function has this type.
    unsafe {
        let handle = dlopen(name.as_ptr(), 0x102);
        let count = if handle.is_null() { handle } else { dlsym(handle, c"standin_counts".as_ptr()) };
        if count.is_null() {
            return Err(format!("{} cannot be loaded", built.display()));
        }
        Ok(Some(std::mem::transmute::<*mut c_void, Count>(count)))
    }
}

/// The folder of the libtorch in this process.
fn libtorch() -> Result<PathBuf, String> {
    // a function that refers to libtorch keeps the linker from dropping it
    let _ = jarzynski::tch::get_num_threads();
    let maps = std::fs::read_to_string("/proc/self/maps").map_err(|e| format!("this system does not say: {e}"))?;
    let line = maps.lines().find_map(|l| l.split_whitespace().last().filter(|p| p.ends_with("/libtorch_cpu.so")));
    line.and_then(|p| Path::new(p).parent().map(Path::to_path_buf)).ok_or("no libtorch in this process".into())
}

fn build(lib: &Path) -> Result<PathBuf, String> {
    let mut hash = DefaultHasher::new();
    (SOURCE, lib, std::fs::metadata(lib.join("libtorch_cpu.so")).map(|m| m.len()).ok()).hash(&mut hash);
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let built = tmp.join(format!("standin-{:016x}.so", hash.finish()));
    if built.exists() {
        return Ok(built);
    }
    let partial = tmp.join(format!("standin-{}.so", std::process::id()));
    let source = partial.with_extension("cpp");
    std::fs::write(&source, SOURCE).map_err(|e| format!("{}: {e}", source.display()))?;
    let include = lib.with_file_name("include");
    let compiler = std::env::var("CXX").unwrap_or("c++".into());
    let done = Command::new(&compiler)
        .args(["-std=c++20", "-O1", "-shared", "-fPIC", "-w"])
        .arg(&source)
        .args(["-ltorch_cpu", "-lc10", "-o"])
        .arg(&partial)
        .arg(format!("-I{}", include.display()))
        .arg(format!("-L{}", lib.display()))
        .output()
        .map_err(|e| format!("{compiler}: {e}"))?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        let first = said.lines().find(|l| l.contains("error")).or(said.lines().next()).unwrap_or("no message");
        return Err(format!("{compiler}: {first}"));
    }
    std::fs::rename(&partial, &built).map_err(|e| format!("{}: {e}", built.display()))?;
    Ok(built)
}
