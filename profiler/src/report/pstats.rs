//! What `cProfile` saves, for `python -m pstats`, snakeviz and others: a
//! marshalled `{(file, line, function): (cc, nc, tt, ct, callers)}`, where
//! `callers` is a table of the same shape without callers.
//!
//! Times are seconds. Calls are not known from samples, so both call counts
//! (`cc`, `nc`) are the samples that have the function on their stack. As with
//! cProfile, what is not Python is in the file `~`, at line 0; here it is the
//! innermost native or kernel function, called from the innermost Python
//! function. Stacks without Python are left out.

mod marshal;

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use rustc_hash::FxHashMap;

use crate::{
    profile::{Frame, FrameId, FrameKind, FunctionId, Recording, StackId},
    views::{Amount, Kept, Views, interpreted},
};

use super::{
    Selection,
    text::{clean, clean_or_empty},
};
use marshal::Value;

/// An entry of the file: different functions of the same name, file and line
/// are one there.
type Key = (String, u32, String);

/// Number of a [`Key`].
type EntryId = u32;

#[derive(Clone, Copy, Default)]
struct Times {
    /// While it was the innermost frame: `tt`.
    own: Amount,
    /// While it was anywhere on the stack: `ct`.
    total: Amount,
}

#[derive(Default)]
struct Entry {
    times: Times,
    callers: BTreeMap<EntryId, Times>,
}

pub fn write(recording: &Recording, selection: Selection, out: &mut dyn Write) -> io::Result<()> {
    let recording = &interpreted(recording, Kept::PythonAndLeaf);
    let (keys, mut entries) = entries(recording, selection);
    let mut table: Vec<(Value, Value)> = Vec::new();
    let mut order: Vec<EntryId> = (0..keys.len() as EntryId).collect();
    order.sort_unstable_by_key(|&id| &keys[id as usize]);
    let key = |id: EntryId| {
        let (file, line, name) = &keys[id as usize];
        Value::Tuple(vec![
            Value::Text(file.clone()),
            Value::Integer(u64::from(*line)),
            Value::Text(name.clone()),
        ])
    };
    for id in order {
        let Some(Entry { times, callers }) = entries.remove(&id) else {
            continue;
        };
        let callers = callers
            .into_iter()
            .map(|(caller, times)| (key(caller), Value::Tuple(numbers(times))))
            .collect();
        let mut row = numbers(times);
        row.push(Value::Table(callers));
        table.push((key(id), Value::Tuple(row)));
    }
    if table.is_empty() {
        // pstats refuses an empty table.
        let name = "<no Python function was sampled>".to_string();
        let mut row = numbers(Times::default());
        row.push(Value::Table(Vec::new()));
        table.push((
            Value::Tuple(vec![
                Value::Text("~".to_string()),
                Value::Integer(0),
                Value::Text(name),
            ]),
            Value::Tuple(row),
        ));
    }
    Value::Table(table).write(out)
}

/// `(cc, nc, tt, ct)`.
fn numbers(times: Times) -> Vec<Value> {
    let seconds = |amount: Amount| Value::Float(amount.weight as f64 / 1e9);
    vec![
        Value::Integer(times.total.count),
        Value::Integer(times.total.count),
        seconds(times.own),
        seconds(times.total),
    ]
}

/// Walks every stack once: a function, and a pair of caller and callee, count
/// once in a stack however often a recursion repeats them.
fn entries(recording: &Recording, selection: Selection) -> (Vec<Key>, FxHashMap<EntryId, Entry>) {
    let mut keys = Vec::<Key>::new();
    let mut by_key = FxHashMap::<Key, EntryId>::default();
    let mut by_function = FxHashMap::<FunctionId, EntryId>::default();
    let mut entry_of = |frame: FrameId| -> EntryId {
        let function = recording.frame(frame).function;
        *by_function.entry(function).or_insert_with(|| {
            let key = key(recording, function);
            *by_key.entry(key.clone()).or_insert_with(|| {
                keys.push(key);
                (keys.len() - 1) as EntryId
            })
        })
    };
    let views = Views::new(recording, selection.source);
    let mut entries = FxHashMap::<EntryId, Entry>::default();
    let mut path: Vec<EntryId> = Vec::new();
    // In which stack each was seen last.
    let mut seen = FxHashMap::<EntryId, StackId>::default();
    let mut seen_pairs = FxHashMap::<(EntryId, EntryId), StackId>::default();
    for stack in 0..recording.stacks.len() as StackId {
        let amount = views.own(stack);
        if amount.is_zero() {
            continue;
        }
        path.clear();
        path.extend(recording.frames_of(Some(stack)).map(&mut entry_of));
        for (depth, &callee) in path.iter().enumerate() {
            let entry = entries.entry(callee).or_default();
            let first = seen.insert(callee, stack) != Some(stack);
            add(&mut entry.times, amount, depth == 0, first);
            if let Some(&caller) = path.get(depth + 1) {
                let first = seen_pairs.insert((caller, callee), stack) != Some(stack);
                let times = entry.callers.entry(caller).or_default();
                add(times, amount, depth == 0, first);
            }
        }
    }
    (keys, entries)
}

fn add(times: &mut Times, amount: Amount, innermost: bool, first: bool) {
    if innermost {
        times.own += amount;
    }
    if first {
        times.total += amount;
    }
}

fn key(recording: &Recording, function: FunctionId) -> Key {
    let function = &recording.functions[function as usize];
    if function.kind == FrameKind::Python {
        let file = clean_or_empty(&function.file).into_owned();
        return (file, function.line, clean(&function.name).into_owned());
    }
    // The angle brackets make pstats show it in braces, as it does built-ins.
    let label = Frame::default().label(function);
    ("~".to_string(), 0, format!("<{}>", clean(&label)))
}

#[cfg(test)]
mod tests;
