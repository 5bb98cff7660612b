//! The work of linking, shared among threads: kernels to emit and weights to pack.
//!
//! Emission keeps a core busy and packing the memory, so half of the threads take their jobs from either end of one queue:
//! kernels stand at its front, the largest weights at its end. Threads begin while the queue is still being filled. What
//! comes out does not depend on who did what.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread::{Builder, Scope};

use super::CodegenError;
use super::kernels::{Emitted, Spec};
use super::link::Linker;
use super::lock;
use super::target::Target;
use super::weights::{Block, Packer};

/// Something to do.
pub(super) enum Job<'a> {
    /// Emits the kernel of this number.
    Emit(usize, Spec),
    /// Fills this block.
    Pack(&'a Packer<'a>, &'a Block, &'a mut [f32]),
}

/// A kernel in a linker of its own.
pub(super) type Kernel = Result<(Linker, Emitted), CodegenError>;

/// The queue, and what has come of it.
pub(super) struct Jobs<'a> {
    target: &'a Target,
    keep_text: bool,
    queue: Mutex<Queue<'a>>,
    /// Something was added to the queue, or it was closed.
    changed: Condvar,
    done: Mutex<Done>,
}

struct Queue<'a> {
    waiting: VecDeque<Job<'a>>,
    closed: bool,
}

#[derive(Default)]
struct Done {
    kernels: Vec<(usize, Kernel)>,
    failed: Option<CodegenError>,
}

/// Closes the queue when it is dropped, so that no thread waits for ever.
pub(super) struct Filling<'jobs, 'a>(&'jobs Jobs<'a>);

impl Drop for Filling<'_, '_> {
    fn drop(&mut self) {
        lock(&self.0.queue).closed = true;
        self.0.changed.notify_all();
    }
}

impl<'a> Filling<'_, 'a> {
    /// Adds a job at the end.
    pub fn push(&self, job: Job<'a>) {
        lock(&self.0.queue).waiting.push_back(job);
        self.0.changed.notify_one();
    }
}

impl<'a> Jobs<'a> {
    /// No jobs yet.
    pub fn new(target: &'a Target, keep_text: bool) -> Self {
        let queue = Mutex::new(Queue { waiting: VecDeque::new(), closed: false });
        Self { target, keep_text, queue, changed: Condvar::new(), done: Mutex::default() }
    }

    /// What fills the queue. There is one, and the threads end some time after it is dropped.
    pub fn filling(&self) -> Filling<'_, 'a> {
        Filling(self)
    }

    /// Works on other threads, of these numbers; the calling one has number 0. Each begins with something else.
    pub fn help<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        helpers: Range<usize>,
        first: impl Fn() + Clone + Send + 'scope,
    ) {
        for helper in helpers {
            // Where the system gives no more threads, those that there are do the work.
            let builder = Builder::new().name(format!("incept-load-{helper}"));
            let first = first.clone();
            let help = move || {
                first();
                self.work(helper);
            };
            if builder.spawn_scoped(scope, help).is_err() {
                break;
            }
        }
    }

    /// Does jobs until the queue is empty and closed.
    pub fn work(&self, worker: usize) {
        let mut scratch = Vec::new();
        while let Some(job) = self.next(worker) {
            match job {
                Job::Emit(number, spec) => {
                    let mut linker = Linker::new(self.target);
                    linker.keep_text(self.keep_text);
                    let kernel = spec.emit(&mut linker).map(|emitted| (linker, emitted));
                    lock(&self.done).kernels.push((number, kernel));
                }
                Job::Pack(packer, block, out) => {
                    if let Err(error) = packer.pack(block, &mut scratch, out) {
                        lock(&self.done).failed.get_or_insert(error);
                    }
                }
            }
        }
    }

    fn next(&self, worker: usize) -> Option<Job<'a>> {
        let mut queue = lock(&self.queue);
        loop {
            let job = if worker.is_multiple_of(2) { queue.waiting.pop_front() } else { queue.waiting.pop_back() };
            if job.is_some() || queue.closed {
                return job;
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The kernels by their numbers.
    ///
    /// # Errors
    /// The first of packing.
    pub fn finish(self) -> Result<Vec<Kernel>, CodegenError> {
        let Done { mut kernels, failed } = self.done.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = failed {
            return Err(error);
        }
        kernels.sort_by_key(|(number, _)| *number);
        Ok(kernels.into_iter().map(|(_, kernel)| kernel).collect())
    }
}
