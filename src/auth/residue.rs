//! What secrets leave behind on the stack. Values are wiped when they are dropped, but the compiler copies them as it likes, and
//! what has been a frame keeps its bytes until another one covers it.

use zeroize::Zeroize;

/// Bytes of stack that a handshake or a login can have used: a few deep calls of a cryptographic library.
const DEPTH: usize = 64 * 1024;

/// Covers the stack below the caller with zeros: to be called where a handshake or a login was called.
#[inline(never)]
pub fn wipe_stack() {
    let mut frame = [1; DEPTH]; // not zero, so that writing zeros is no empty work
    frame.zeroize();
}
