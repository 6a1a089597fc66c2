// SPDX-License-Identifier: BSL-1.0
//! Connects through WireGuard, sends a line and prints the answer: no root rights, no TUN device.
//!
//!     rustc -O -L native=DIR dial.rs        # DIR has libwg.so
//!     dial FILE HOST:PORT LINE
//!
//! FILE is a configuration file of wg-quick(8).
use std::ffi::{c_char, c_int, c_void, CStr, CString};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::FromRawFd;
use std::os::unix::net::UnixStream;

#[link(name = "wg")]
extern "C" {
    fn wg_tunnel_open_file(
        tunnel: *mut *mut c_void,
        path: *const c_char,
        options: *const c_void,
        why: *mut c_char,
        why_size: usize,
    ) -> c_int;
    fn wg_tunnel_close(tunnel: *mut c_void, linger_ms: c_int);
    fn wg_dial(tunnel: *mut c_void, host_and_port: *const c_char, timeout_ms: c_int) -> c_int;
    fn wg_describe(status: c_int) -> *const c_char;
}

/// A WireGuard interface inside this process.
struct Tunnel(*mut c_void);
// Each function of libwg may be called by any thread.
unsafe impl Send for Tunnel {}
unsafe impl Sync for Tunnel {}

impl Tunnel {
    fn open(path: &str) -> Result<Tunnel, String> {
        let path = CString::new(path).map_err(|e| e.to_string())?;
        let mut tunnel = std::ptr::null_mut();
        let mut why = [0 as c_char; 256];
        let done = unsafe {
            wg_tunnel_open_file(&mut tunnel, path.as_ptr(), std::ptr::null(), why.as_mut_ptr(), why.len())
        };
        match done {
            0 => Ok(Tunnel(tunnel)),
            _ => Err(unsafe { CStr::from_ptr(why.as_ptr()) }.to_string_lossy().into_owned()),
        }
    }

    /// The stream is a local socket: read, write, shutdown and timeouts are those of the standard library.
    fn dial(&self, to: &str, timeout_ms: i32) -> Result<UnixStream, String> {
        let text = CString::new(to).map_err(|e| e.to_string())?;
        match unsafe { wg_dial(self.0, text.as_ptr(), timeout_ms) } {
            fd if fd >= 0 => Ok(unsafe { UnixStream::from_raw_fd(fd) }),
            why => Err(unsafe { CStr::from_ptr(wg_describe(why)) }.to_string_lossy().into_owned()),
        }
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        unsafe { wg_tunnel_close(self.0, 1000) }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, file, to, line] = arguments.as_slice() else {
        return Err("usage: dial FILE HOST:PORT LINE".into());
    };
    let tunnel = Tunnel::open(file)?;
    let mut stream = tunnel.dial(to, 10_000)?;
    writeln!(stream, "{line}")?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    print!("{answer}");
    Ok(())
}
