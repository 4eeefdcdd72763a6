//! Where a body comes in: through a pipe straight into its file where that can be had, by way of a buffer everywhere else.

use super::pipe::Pipe;

/// A buffer, and a pipe if there is one, with what came in last.
pub struct Intake {
    pub(super) buffer: Vec<u8>,
    /// Bytes of the buffer that came in last.
    pub(super) read: usize,
    pub(super) pipe: Option<Pipe>,
}

/// Some bytes of a body, where they are.
pub enum Portion<'a> {
    /// In this process.
    Read(&'a [u8]),
    /// In the kernel, to be poured into a file before more is taken in.
    Piped(&'a mut Pipe),
}

impl Intake {
    /// A buffer of `size` bytes, and no pipe.
    pub fn new(size: usize) -> Intake {
        Intake { buffer: vec![0; size], read: 0, pipe: None }
    }

    /// With a pipe, for what goes into a file.
    pub fn with(self, pipe: Option<Pipe>) -> Intake {
        Intake { pipe, ..self }
    }

    /// What came in last.
    pub fn portion(&mut self) -> Portion<'_> {
        match &mut self.pipe {
            Some(pipe) if !pipe.is_empty() => Portion::Piped(pipe),
            _ => Portion::Read(&self.buffer[..self.read]),
        }
    }
}
