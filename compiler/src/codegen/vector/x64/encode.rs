//! From instructions to bytes, in one pass.
//!
//! The assembler names a place by a number: it is the `ip` of the instruction there (0 where there is none), and the
//! target of branches and of addresses relative to the next instruction. Branches back know where they go and are short
//! where that reaches; those forward and addresses of constants get four bytes that are filled in at the end. The general
//! encoder of `iced-x86` shortens the former too, for several times the work.

use iced_x86::{Encoder, Instruction};
use rustc_hash::FxHashMap;

use crate::codegen::CodegenError;

/// Where a tile is encoded; any address does, for the code does not depend on it.
const BASE: u64 = 1 << 32;

/// A place whose distance is not known yet.
struct Open {
    label: u64,
    /// Where the four bytes of the distance are.
    at: usize,
    /// The end of the instruction, from which the distance counts.
    end: usize,
}

/// The bytes of some code and of the constants behind it, and how many of them are code.
pub(super) fn encode(code: [&[Instruction]; 2], constants: &[Instruction]) -> Result<(Vec<u8>, usize), CodegenError> {
    let of_code = code[0].len() + code[1].len();
    let mut encoder = Encoder::try_with_capacity(64, (of_code + constants.len()) * 8)?;
    let mut places: FxHashMap<u64, usize> = FxHashMap::default();
    let mut open: Vec<Open> = Vec::new();
    let (mut end, mut code_len) = (0usize, 0usize);
    for (index, instruction) in code.into_iter().flatten().chain(constants).enumerate() {
        let (begin, mut instruction) = (end, *instruction);
        if instruction.ip() != 0 {
            places.insert(instruction.ip(), begin);
        }
        let here = BASE + begin as u64;
        let branch = instruction.is_jcc_short_or_near() || instruction.is_jmp_short_or_near();
        let label = match (branch, instruction.is_ip_rel_memory_operand()) {
            (true, _) => Some(instruction.near_branch_target()),
            (_, true) => Some(instruction.memory_displacement64()),
            _ => None,
        };
        let known = label.and_then(|label| places.get(&label)).copied();
        let target = known.map_or(here, |place| BASE + place as u64);
        if branch {
            // A short branch has two bytes and reaches 128 back from its end.
            let short = known.is_some_and(|place| begin + 2 - place <= 128);
            if short {
                instruction.as_short_branch();
            } else {
                instruction.as_near_branch();
            }
            instruction.set_near_branch64(target);
        } else if label.is_some() {
            instruction.set_memory_displacement64(target);
        }
        end += encoder.encode(&instruction, here)?;
        if index < of_code {
            code_len = end;
        }
        if let (Some(label), None) = (label, known) {
            // A near branch ends with its distance; an address may be followed by an immediate.
            let offset = encoder.get_constant_offsets().displacement_offset();
            let at = if branch { end.saturating_sub(4) } else { begin + offset };
            open.push(Open { label, at, end });
        }
    }
    let mut bytes = encoder.take_buffer();
    for Open { label, at, end } in open {
        let place = places.get(&label).ok_or(CodegenError::Internal("a label that no place has"))?;
        let distance = i32::try_from(*place as i64 - end as i64).map_err(|_| CodegenError::Internal("code size"))?;
        let hole = bytes.get_mut(at..at + 4).ok_or(CodegenError::Internal("an instruction without a distance"))?;
        hole.copy_from_slice(&distance.to_le_bytes());
    }
    Ok((bytes, code_len))
}
