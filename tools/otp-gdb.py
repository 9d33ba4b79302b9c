# otp-gdb.py: shows the processes of a program that uses otp.h, live or in a core file.
# SPDX-License-Identifier: MIT
#
#   (gdb) source tools/otp-gdb.py
#   (gdb) otp ps                all processes: what each is, does and waits for
#   (gdb) otp bt PID            its calls, also when it is suspended; otp bt all
#   (gdb) help otp              the other commands
#
# Needs gdb 9 or newer with Python, and the debug information of the file that holds OTP_IMPLEMENTATION. It only reads
# memory: nothing is called in the program. What it reads may be half-way through a change, so every list is followed
# with a bound, and every pointer into the runtime is checked.
#
# How a suspended process gets a backtrace: the registers that its switch saved stand at the top of its stack. A core's
# registers cannot be written, so they are not put into a thread. An unwinder says instead that the innermost frame of
# the selected thread was called from where the process was left; gdb goes on from there by itself.

import os
import re
import time

import gdb
from gdb.unwinder import Unwinder, register_unwinder

# What otp.h defines by macros and anonymous enums, which debug information need not hold. tests/gdb.sh compares.
K = {
    'OTP__PROC_BYTES': 256, 'OTP__TIMER_BYTES': 64, 'OTP__SLAB': 2 << 20, 'OTP__MAX_SLABS': 16384,
    'OTP__PARKED': 1, 'OTP__SIGWAIT': 2, 'OTP__CLOSED': 3, 'OTP__HEAD_BITS': 7, 'OTP__TIMED': 0x80,
    'OTP__P_TRAP': 1, 'OTP__P_GUEST': 2, 'OTP__P_PINNED': 4, 'OTP__P_HANDLER': 8, 'OTP__P_EXITING': 16,
    'OTP__P_SYS_SUSPENDED': 64, 'OTP__P_TRACED': 128, 'OTP__HAS_ASLEEP': 1024, 'OTP__HAS_SUSPEND': 64,
    'OTP__K_MSG': 0, 'OTP__K_MASK': 0xff, 'OTP__F_KEPT': 1 << 16, 'OTP__F_MOVED': 1 << 18, 'OTP__F_SHARED': 1 << 19,
    'OTP__F_CALL': 1 << 20, 'OTP__F_ERROR': 1 << 21, 'OTP__F_LINKED': 1 << 22,
    'OTP__R_LINK': 0, 'OTP__R_MON_OUT': 1, 'OTP__R_MON_IN': 2, 'OTP__R_ALIAS': 3, 'OTP__R_REQ_OUT': 4,
    'OTP__R_REQ_IN': 5, 'OTP__R_SUSPEND': 6,
    'OTP__TIMER_ARMED': 1, 'OTP__QUEUES': 5, 'OTP__STEAL_MASK': 3, 'OTP__STEAL_GONE': 2,
    'OTP_WAITS_MESSAGE': 1, 'OTP_WAITS_CALL': 2, 'OTP_WAITS_FD': 3, 'OTP_WAITS_SLEEP': 4, 'OTP_WAITS_BLOCKING': 5,
    'OTP_WAITS_RESUME': 6,
}
KINDS = ['message', 'exit signal', 'link', 'unlink', 'unlink answer', 'monitor', 'demonitor', 'down', 'reply',
         'suspend', 'resume', 'question']       # OTP__K_…, in this order
QUEUES = ['max', 'high', 'woken', 'yielded', 'low']     # OTP__Q_…
PRIORITIES = ['normal', 'low', 'high', 'max']
WAITS = ['nothing', 'a message', 'a call', 'an fd', 'time', 'blocking work', 'a resume']
REASONS = ['normal', 'shutdown', 'kill', 'killed', 'noproc', 'timeout', 'badarg', 'call', 'crash', 'stack_overflow',
           'system_limit', 'noconnection', 'error', 'user']
TAGS = {-1: 'OTP_AFTER', -2: 'OTP_EXIT', -3: 'OTP_DOWN', -4: 'OTP_REPLY_TAG', -5: 'OTP_TIMEOUT_TAG',
        -6: 'OTP_CONTINUE', -7: 'OTP_IDLE', -20: 'OTP_SYS_SUSPEND', -21: 'OTP_SYS_RESUME', -22: 'OTP_SYS_GET_STATE',
        -23: 'OTP_SYS_REPLACE_STATE', -24: 'OTP_SYS_TRACE', -25: 'OTP_SYS_CHANGE_CODE', -26: 'OTP_SYS_TERMINATE'}

BOUND = 100000      # nodes of one list; a longer one is counted as "more than"
BROKEN = 'the list is broken or is being changed'
FAR_FUTURE = (1 << 63) - 1


def fail(text):
    raise gdb.GdbError('otp: ' + text)


# -- memory -------------------------------------------------------------------------------------------------------

def memory(addr, size):
    return bytes(gdb.selected_inferior().read_memory(addr, size))


def number(data, signed=False):
    return int.from_bytes(data, 'little', signed=signed)


def pointer_size():
    return gdb.lookup_type('char').pointer().sizeof


def read_pointer(addr):
    return number(memory(addr, pointer_size()))


def text_at(addr, limit=256):
    """A C string; what cannot be read is told, not thrown."""
    if not addr:
        return ''
    out = b''
    try:
        while len(out) < limit and b'\0' not in out:
            n = min(64, limit - len(out), 4096 - (addr + len(out)) % 4096)
            out += memory(addr + len(out), n)
    except gdb.MemoryError:
        if not out:
            return '(unreadable)'
    return ''.join(c if c.isprintable() else '?' for c in out.split(b'\0')[0].decode('utf-8', 'replace'))


class Layout:
    """Where the members of a struct are. Nested ones are named with dots."""
    known = {}

    def __init__(self, name):
        try:
            t = gdb.lookup_type('struct ' + name)
        except gdb.error:
            fail('no debug information of otp.h here (no struct %s): compile the file with OTP_IMPLEMENTATION with -g, '
                 'and do not strip the program' % name)
        self.size = t.sizeof
        self.members = {}
        self.add(t, 0, '')

    def add(self, t, base, prefix):
        for f in t.fields():
            if not hasattr(f, 'bitpos') or f.name is None:
                continue
            ft = f.type.strip_typedefs()
            at = base + f.bitpos // 8
            signed = ft.code == gdb.TYPE_CODE_INT and not str(ft.unqualified()).startswith(('unsigned', 'uint')) and \
                'unsigned' not in str(ft)
            self.members[prefix + f.name] = (at, ft.sizeof, signed)
            if ft.code in (gdb.TYPE_CODE_STRUCT, gdb.TYPE_CODE_UNION):
                self.add(ft, at, prefix + f.name + '.')

    @staticmethod
    def of(name):
        if name not in Layout.known:
            Layout.known[name] = Layout(name)
        return Layout.known[name]


class Record:
    """A struct as it was when it was read."""

    def __init__(self, name, addr, data=None):
        self.layout = Layout.of(name)
        self.addr = addr
        self.data = data if data is not None else memory(addr, self.layout.size)

    def __getitem__(self, member):
        at, size, signed = self.layout.members[member]
        return number(self.data[at:at + size], signed)

    def raw(self, member):
        at, size, _ = self.layout.members[member]
        return self.data[at:at + size]

    def at(self, member):
        return self.addr + self.layout.members[member][0]

    def text(self, member):
        return self.raw(member).split(b'\0')[0].decode('utf-8', 'replace')


def follow(first, layout, link='next', bound=BOUND):
    """The records of a list, and None at its end if it does not end properly."""
    seen = set()
    while first:
        if first in seen or len(seen) >= bound:
            yield None
            return
        seen.add(first)
        try:
            r = Record(layout, first)
        except gdb.MemoryError:
            yield None
            return
        yield r
        first = r[link]


functions = {}


def function_name(addr):
    if not addr:
        return ''
    if addr not in functions:
        said = gdb.execute('info symbol %d' % addr, to_string=True)
        functions[addr] = hex(addr) if said.startswith('No symbol') else said.split(' in section')[0].split(' + ')[0]
    return functions[addr]


# -- the runtime --------------------------------------------------------------------------------------------------

def pid_text(pid):
    """As otp_dump() writes it."""
    if pid >> 63:
        return 'remote %#x' % pid
    return '<%d.%d>' % (pid >> 32 & 0x7ffffff, pid & 0xffffffff)


def ref_text(ref):
    return '#%x' % ref if ref else '-'


class Runtime:
    """The runtime as it stands now."""

    def __init__(self):
        symbol = gdb.lookup_static_symbol('otp__rt') or gdb.lookup_global_symbol('otp__rt')
        if symbol is None:
            try:        # a minimal symbol, which stays in a program without debug information
                gdb.parse_and_eval('(long)&otp_start')
            except gdb.error:
                pass
            else:
                fail('this program has no debug information of otp.h: compile the file with OTP_IMPLEMENTATION with -g')
            fail('no otp.h here: the program does not use it, is stripped, or has not been loaded yet '
                 '(a library that holds it may come later)')
        if gdb.selected_inferior().pid == 0 and gdb.selected_thread() is None:
            fail('the program does not run: start it, or load a core file')
        try:
            address = symbol.value().address
        except gdb.error:
            fail('otp.h has no data here')
        self.rt = Record('otp__rt', int(address))
        if self.rt['up'] == 0:
            fail('the runtime is not running: otp_start has not been called yet, or otp_stop has')
        self.nscheds = min(max(self.rt['nscheds'], 0), 256)
        self.slots = self.rt['slots']
        self.look_at_threads()
        self.slabs = {}

    def array(self, member, index):
        size = pointer_size()
        return number(self.rt.raw(member)[index * size:index * size + size])

    def scheds(self):
        for i in range(self.nscheds + 1):
            addr = self.array('sched', i)
            if addr:
                try:
                    yield Record('otp__sched', addr)
                except gdb.MemoryError:
                    continue

    # Threads: which thread of gdb is which T, and where it stands.

    def look_at_threads(self):
        self.gdb_threads = []       # (thread, pthread_self(), sp)
        self.running_threads = False
        before = gdb.selected_thread()
        try:
            for th in sorted(gdb.selected_inferior().threads(), key=lambda t: t.num):
                if th.is_running():
                    self.running_threads = True
                    continue
                th.switch()
                frame = gdb.newest_frame()
                self.gdb_threads.append((th, self.thread_pointer(frame), int(frame.read_register('sp'))))
        finally:
            if before is not None and before.is_valid():
                before.switch()

    @staticmethod
    def thread_pointer(frame):
        for name in ('fs_base', 'tpidr', 'tp'):
            try:
                return int(frame.read_register(name)) & (1 << 64) - 1
            except (ValueError, gdb.error):
                continue
        return 0

    def gdb_thread(self, t):
        """The thread of gdb for a T."""
        for th, pointer, sp in self.gdb_threads:
            if pointer and pointer == t['pthread']:
                return th, sp
        return None, 0

    def threads(self):
        return [t for t in follow(self.rt['threads'], 'otp__thread', 'all_next', 4096) if t]

    # Processes.

    def record_bytes(self, slot):
        per_slab = K['OTP__SLAB'] // K['OTP__PROC_BYTES']
        n = slot // per_slab
        if n >= K['OTP__MAX_SLABS']:
            return 0, None
        if n not in self.slabs:
            base = self.array('slabs', n)
            used = min(per_slab, self.slots - n * per_slab) * K['OTP__PROC_BYTES']
            try:
                self.slabs[n] = (base, memory(base, used)) if base else (0, None)
            except gdb.MemoryError:
                self.slabs[n] = (base, None)
        base, data = self.slabs[n]
        at = slot % per_slab * K['OTP__PROC_BYTES']
        return base + at, data[at:at + K['OTP__PROC_BYTES']] if data else None

    def processes(self):
        """All that are alive."""
        head, size, _ = Layout.of('otp__proc').members['head']
        missing = 0
        for slot in range(self.slots):
            addr, data = self.record_bytes(slot)
            if data is None:
                missing += 1
                continue
            if number(data[head:head + size]) != K['OTP__CLOSED']:
                yield Process(self, addr, data)
        if missing:
            print('(%d records could not be read)' % missing)

    def at_address(self, addr):
        """A process by the address of its record, or None if no record stands there."""
        per_slab = K['OTP__SLAB'] // K['OTP__PROC_BYTES']
        for n in range((self.slots + per_slab - 1) // per_slab):
            base = self.array('slabs', n)
            if base <= addr < base + K['OTP__SLAB'] and (addr - base) % K['OTP__PROC_BYTES'] == 0:
                a, data = self.record_bytes(n * per_slab + (addr - base) // K['OTP__PROC_BYTES'])
                return Process(self, a, data) if data else None
        return None

    def by_pid(self, pid):
        slot = pid >> 32 & 0x7ffffff
        if pid >> 63 or slot >= self.slots:
            return None
        addr, data = self.record_bytes(slot)
        p = Process(self, addr, data) if data else None
        return p if p and p['pid'] == pid and p['head'] != K['OTP__CLOSED'] else None

    def find(self, what):
        """A process by what the user wrote: <3.1>, 3.1, a name, or the number in otp_pid.id."""
        what = what.strip()
        m = re.match(r'^<?(\d+)\.(\d+)>?$', what)
        pid = int(m.group(1)) << 32 | int(m.group(2)) if m else None
        if pid is None and re.match(r'^(0x[0-9a-fA-F]+|\d+)$', what):
            pid = int(what, 0)
        if pid is not None:
            p = self.by_pid(pid)
            if p is None:
                fail('no process %s is alive (otp ps lists them)' % pid_text(pid))
            return p
        found = [p for p in self.processes() if p.name() == what]
        if not found:
            fail('no process has the pid or name %r (otp ps lists them)' % what)
        if len(found) > 1:
            fail('%d processes are called %r: say which by its pid' % (len(found), what))
        return found[0]

    def who(self, pid):
        """A pid with the name of its process."""
        if not pid:
            return '-'
        p = self.by_pid(pid)
        name = p.name() if p else ''
        return pid_text(pid) + (' ' + name if name else '' if p else ' (dead)')

    def now(self):
        """Nanoseconds on the runtime's clock, and whether that is exact."""
        if self.rt['det']:
            return max([s['vnow'] for s in self.scheds()] or [0]), True
        try:
            local = gdb.selected_inferior().connection.type == 'native'
        except AttributeError:
            local = False
        if local:
            return time.clock_gettime_ns(time.CLOCK_MONOTONIC), True
        return max([s['ns_last'] for s in self.scheds()] or [0]), False

    def until(self, ns):
        now, exact = self.now()
        left = (ns - now) // 1000000
        return 'now' if left <= 0 else '%s %d ms' % ('in' if exact else 'within', left)


class Process(Record):
    def __init__(self, runtime, addr, data):
        super().__init__('otp__proc', addr, data)
        self.runtime = runtime
        self.where = None

    def pid(self):
        return pid_text(self['pid'])

    def has_flag(self, flag):
        return bool(self['flags'] & K[flag])

    def extension(self):
        try:
            return Record('otp__ext', self['ext']) if self['ext'] else None
        except gdb.MemoryError:
            return None

    def handler(self):
        if not self.has_flag('OTP__P_HANDLER'):
            return None
        try:
            return Record('otp_handler', self['run.h'])
        except (gdb.MemoryError, gdb.GdbError):
            return None

    def registered(self):
        try:
            return Record('otp__name', self['name']).text('text') if self['name'] else ''
        except gdb.MemoryError:
            return ''

    def name(self):
        """As otp.h reports it: the registered name, the label, or what its handler is called."""
        name = self.registered()
        ext = self.extension()
        if not name and ext:
            name = text_at(ext['label'], 64)
        handler = self.handler()
        if not name and handler:
            name = text_at(handler['name'], 64)
        return name

    def stack(self):
        try:
            return Record('otp__stack', self['stack']) if self['stack'] else None
        except gdb.MemoryError:
            return None

    def thread(self):
        """The thread of gdb that it runs on now, or None. Told by where the stack pointers are: T.cur may be ahead of
        a switch, or stay behind one."""
        if self.where is None:
            self.where = (self.find_thread(),)
        return self.where[0]

    def find_thread(self):
        stack = self.stack()
        if stack and not self.has_flag('OTP__P_GUEST'):
            for th, _, sp in self.runtime.gdb_threads:
                if stack['base'] <= sp < stack['base'] + stack['size']:
                    return th
        try:
            t = Record('otp__thread', self['thread']) if self['thread'] else None
            if t is None or t['cur'] != self.addr or (not stack and not self.has_flag('OTP__P_GUEST')):
                return None
            th, sp = self.runtime.gdb_thread(t)
            if th is None or self.has_flag('OTP__P_GUEST'):
                return th
            loop = Record('otp__stack', t['stack'])     # the loop may be on another stack: then T.cur is a memory
            return None if loop['base'] <= sp < loop['base'] + loop['size'] else th
        except gdb.MemoryError:
            return None

    def waits(self):
        return self['waits'] & 15 if self.state() in ('waiting', 'suspended') else 0

    def state(self):
        head = self['head']
        if head == K['OTP__PARKED'] or head & 3 == K['OTP__SIGWAIT']:
            return 'suspended' if self['waits'] & 15 == K['OTP_WAITS_RESUME'] else 'waiting'
        if self.has_flag('OTP__P_EXITING'):
            return 'exiting'
        return 'running' if self.thread() is not None or self.has_flag('OTP__P_GUEST') else 'runnable'

    def waits_text(self):
        waits = self.waits()
        if waits == K['OTP_WAITS_CALL']:
            return 'a call to ' + pid_text(self['waits_for']) if self['waits_for'] else 'an answer'
        if waits == K['OTP_WAITS_FD']:
            return 'fd %d' % self['waits_for']
        return WAITS[waits] if waits < len(WAITS) else str(waits)

    def nodes(self):
        """All of its mailbox, oldest first: (node, where it is); (None, where) for a list that is broken."""
        mark = self['mark'] if self.has_flag('OTP__P_HANDLER') else 0
        left = bool(mark)
        link = self.at('first')
        for n in follow(self['first'], 'otp__node'):
            if link == mark:
                left = False
            yield n, 'left' if left else ''
            if n:
                link = n.at('next')
        for n in follow(self['handed'], 'otp__node'):
            yield n, 'new'
        for n in reversed(list(follow(self['head'] & ~K['OTP__HEAD_BITS'], 'otp__node'))):
            yield n, 'new'

    def queue_length(self):
        n, broken = 0, False
        for node, _ in self.nodes():
            if node is None:
                broken = True
            elif node['m.flags'] & K['OTP__K_MASK'] == K['OTP__K_MSG'] and node['to'] == self['pid']:
                n += 1
        return '%d%s' % (n, '?' if broken else '')


# -- backtraces ---------------------------------------------------------------------------------------------------

class SuspendedUnwinder(Unwinder):
    """While it is armed: the innermost frame of the selected thread was called from where a process was left."""

    def __init__(self):
        super().__init__('otp.h process')
        self.saved = None
        self.at = None

    def arm(self, saved):
        gdb.invalidate_cached_frames()
        self.saved = None
        frame = gdb.newest_frame()
        self.at = (int(frame.read_register('pc')), int(frame.read_register('sp')))
        self.saved = saved
        gdb.invalidate_cached_frames()

    def disarm(self):
        if self.saved is not None:
            self.saved = None
            gdb.invalidate_cached_frames()

    def __call__(self, pending):
        if self.saved is None:
            return None
        if (int(pending.read_register('pc')), int(pending.read_register('sp'))) != self.at:
            return None
        # Below every stack, so that gdb does not find the stacks out of order.
        info = pending.create_unwind_info(FrameId(gdb.Value(16), gdb.Value(self.at[0])))
        for name, value in self.saved.items():
            kind = pending.read_register(name).type
            info.add_saved_register(name, gdb.Value(value).cast(kind))
        return info


class FrameId:
    def __init__(self, sp, pc):
        self.sp = sp
        self.pc = pc


unwinder = SuspendedUnwinder()
register_unwinder(None, unwinder, replace=True)
gdb.events.cont.connect(lambda event: unwinder.disarm())

# The registers of otp__ctx: pc, sp, fp and the one that stands in bx.
CONTEXT = {'i386:x86-64': ('rip', 'rsp', 'rbp', 'rbx'), 'aarch64': ('pc', 'sp', 'x29', 'x19'),
           'riscv:rv64': ('pc', 'sp', 'fp', 's1')}


def saved_registers(stack):
    """What the switch saved, by register. The saved pc is a label behind a jump, not behind a call: gdb looks at the
    byte before a caller's pc, which would be the jump, so it gets the address of the byte behind."""
    arch = gdb.selected_frame().architecture().name()
    members = stack.layout.members
    if 'ctx.pc' in members:
        if arch not in CONTEXT:
            fail('backtraces of suspended processes are not known for %s' % arch)
        pc, sp, fp, bx = CONTEXT[arch]
        return {pc: stack['ctx.pc'] + 1, sp: stack['ctx.sp'], fp: stack['ctx.fp'], bx: stack['ctx.bx']}, pc, sp
    out = {}            # the portable switch: a ucontext_t, whose pc is behind a call
    context = stack.at('ctx.uc')
    uc = gdb.Value(context).cast(gdb.lookup_type('ucontext_t').pointer()).dereference()
    if arch == 'i386:x86-64':
        for i, name in enumerate(['r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15', 'rdi', 'rsi', 'rbp', 'rbx',
                                  'rdx', 'rax', 'rcx', 'rsp', 'rip']):
            if name in ('r12', 'r13', 'r14', 'r15', 'rbp', 'rbx', 'rsp', 'rip'):
                out[name] = int(uc['uc_mcontext']['gregs'][i])
        return out, 'rip', 'rsp'
    if arch == 'aarch64':
        for i in range(19, 31):
            out['x%d' % i] = int(uc['uc_mcontext']['regs'][i])
        out['pc'], out['sp'] = int(uc['uc_mcontext']['pc']), int(uc['uc_mcontext']['sp'])
        return out, 'pc', 'sp'
    fail('backtraces of suspended processes are not known for %s with the portable switch' % arch)


FRAMES = 200


def backtrace_lines():
    # 0: no wrapping, which would make several lines of one frame
    return gdb.execute('with width 0 -- backtrace -no-filters %d' % FRAMES, to_string=True).splitlines()


def print_frames(lines, drop=0):
    for line in lines:
        m = re.match(r'^#(\d+)\s+(.*)$', line)
        if m and int(m.group(1)) < drop:
            continue
        print('#%-3d %s' % (int(m.group(1)) - drop, m.group(2)) if m else line)


def arm_for(p):
    """Makes the unwinder continue in a suspended process. Returns the level of its first frame."""
    registers, pc, sp = saved_registers(p.stack())
    unwinder.arm(registers)
    frame = gdb.newest_frame()
    for level in range(64):
        if frame is None:
            break
        if int(frame.read_register(pc)) & (1 << 64) - 1 == registers[pc] and \
                int(frame.read_register(sp)) & (1 << 64) - 1 == registers[sp]:
            return level
        frame = frame.older()
    unwinder.disarm()
    fail('gdb cannot unwind from the place where %s was left (pc %#x)' % (p.pid(), registers[pc]))


def why_no_frames(p):
    """A sentence for a process that has no frames, or None."""
    if p.thread() is not None:
        return None
    if p.has_flag('OTP__P_GUEST'):
        return 'a thread of the program, which gdb does not show (it may have ended, or run)'
    if p['has'] & K['OTP__HAS_ASLEEP']:
        return 'hibernated: it has no stack, and will go on in %s' % function_name(p['run.fn'])
    if p['stack'] == 0:
        h = p.handler()
        if h:
            return 'a handler between messages: it has no stack; the next one goes to %s' % function_name(h['message'])
        return 'it has not started yet: it will run %s' % function_name(p['run.fn'])
    if p.stack() is None:
        return 'its stack cannot be read'
    if p.state() in ('running', 'exiting') and p.runtime.running_threads:
        return 'it runs on a thread that gdb has not stopped'
    t = thread_of(p)
    if t is not None and t['cur'] == p.addr and p.state() == 'running':
        return 'it runs on a thread that gdb does not show'
    return None


def thread_of(p):
    try:
        return Record('otp__thread', p['thread']) if p['thread'] else None
    except gdb.MemoryError:
        return None


def print_backtrace(p):
    print('%s %s%s' % (p.pid(), p.name() + ' ' if p.name() else '', describe_state(p)))
    why = why_no_frames(p)
    if why:
        print('     (%s)' % why)
        return
    before = gdb.selected_thread()
    try:
        if p.thread() is not None:
            p.thread().switch()
            print_frames(backtrace_lines())
            return
        level = arm_for(p)
        print_frames(backtrace_lines(), level)
    finally:
        unwinder.disarm()
        if before is not None and before.is_valid():
            before.switch()


def describe_state(p):
    state = p.state()
    if state == 'waiting':
        return 'waits for ' + p.waits_text()
    if p.thread() is not None:
        return '%s on thread %d' % (state, p.thread().num)
    return 'is ' + state


# -- commands -----------------------------------------------------------------------------------------------------

class Otp(gdb.Command):
    """Processes of otp.h, live or in a core file.

A PID is written as in the list: <3.1> or 3.1; a name or the number in otp_pid.id do as well."""

    def __init__(self):
        super().__init__('otp', gdb.COMMAND_DATA, gdb.COMPLETE_NONE, True)


class Subcommand(gdb.Command):
    def __init__(self):
        super().__init__('otp ' + self.word, gdb.COMMAND_DATA, gdb.COMPLETE_NONE)

    def invoke(self, argument, from_tty):
        selected = unwinder.saved
        unwinder.disarm()
        if selected is not None and self.word != 'select':
            print('(no process is selected any more)')
        Layout.known.clear()        # another program may have been loaded since
        functions.clear()
        thread = gdb.selected_thread()
        level = self.frame_level()
        try:
            self.run(Runtime(), argument.strip())
        except gdb.MemoryError as e:
            fail('%s (is the core file complete?)' % e)
        finally:
            if self.word != 'select' and thread is not None and thread.is_valid():
                thread.switch()
                if level:
                    gdb.execute('frame %d' % level, to_string=True)

    @staticmethod
    def frame_level():
        try:
            return gdb.selected_frame().level()
        except (gdb.error, AttributeError):
            return 0

    def one(self, runtime, argument):
        if not argument:
            fail('usage: otp %s PID' % self.word)
        return runtime.find(argument)


class Ps(Subcommand):
    """Lists the processes: otp ps [TEXT]. With TEXT only lines that hold it, such as a state or a name."""
    word = 'ps'

    def run(self, runtime, argument):
        print('%-14s %-20s %-9s %-20s %6s %10s %9s  %s' % ('pid', 'name', 'state', 'waits for', 'queue', 'reductions',
                                                          'heap', 'spawned'))
        count = {}
        for p in runtime.processes():
            state = p.state()
            count[state] = count.get(state, 0) + 1
            line = '%-14s %-20s %-9s %-20s %6s %10d %9d  %s' % (
                p.pid(), p.name(), state, p.waits_text(), p.queue_length(), p['reds_base'] + p['reds'],
                p['heap_bytes'], text_at(p['place'], 160) or 'by a thread')
            if argument in line:
                print(line)
        states = ', '.join('%d %s' % (n, s) for s, n in sorted(count.items()))
        print('%d processes%s' % (sum(count.values()), ': ' + states if states else ''))


class Bt(Subcommand):
    """Prints the calls of a process, whether it runs or not: otp bt PID, or otp bt all."""
    word = 'bt'

    def run(self, runtime, argument):
        if argument != 'all':
            print_backtrace(self.one(runtime, argument))
            return
        for p in runtime.processes():
            try:
                print_backtrace(p)
            except gdb.GdbError as e:
                print('     (%s)' % e)


class Select(Subcommand):
    """Goes to the frames of a process: otp select PID. Then bt, up, down, info locals and print work in them; frame 0
is still the thread's own, the process begins above it. otp select none, or letting the program run, ends it."""
    word = 'select'

    def run(self, runtime, argument):
        if argument == 'none':
            gdb.execute('frame 0', to_string=True)
            return
        p = self.one(runtime, argument)
        why = why_no_frames(p)
        if why:
            fail('%s has no frames: %s' % (p.pid(), why))
        if p.thread() is not None:
            p.thread().switch()
            print('[%s %s, on thread %d]' % (p.pid(), p.name(), p.thread().num))
            gdb.execute('frame')
            return
        level = arm_for(p)
        print('[%s %s, from frame %d on]' % (p.pid(), p.name(), level))
        gdb.execute('frame %d' % level)


class Mailbox(Subcommand):
    """Prints what waits in a mailbox, oldest first: otp mailbox PID [COUNT]. The default is the first 20."""
    word = 'mailbox'

    def run(self, runtime, argument):
        words = argument.rsplit(None, 1)
        limit = 20
        if len(words) == 2 and words[1].isdigit():
            argument, limit = words[0], int(words[1])
        p = self.one(runtime, argument)
        print('%s %s' % (p.pid(), p.name()))
        for member, what in (('cur', 'in hand'), ('call_reply', 'its reply')):
            if p[member]:
                try:
                    self.show(runtime, p, Record('otp__node', p[member]), what)
                except gdb.MemoryError:
                    print('  %-8s (unreadable)' % what)
        n = 0
        for node, where in p.nodes():
            if node is None:
                print('  … %s' % BROKEN)
                continue
            n += 1
            if n <= limit:
                self.show(runtime, p, node, '%d %s' % (n, where))
        if n > limit:
            print('  … and %d more: otp mailbox %s %d' % (n - limit, p.pid(), n))
        if n == 0:
            print('  nothing waits')

    def show(self, runtime, p, node, first):
        flags = node['m.flags']
        kind = flags & K['OTP__K_MASK']
        what = KINDS[kind] if kind < len(KINDS) else 'unknown %d' % kind
        if kind == K['OTP__K_MSG'] and flags & K['OTP__F_CALL']:
            what = 'request'
        notes = [n for f, n in (('OTP__F_SHARED', 'shared'), ('OTP__F_MOVED', 'moved'), ('OTP__F_KEPT', 'kept'),
                                ('OTP__F_ERROR', 'an error code'), ('OTP__F_LINKED', 'over a link')) if flags & K[f]]
        if node['to'] != p['pid'] and not flags & K['OTP__F_KEPT']:
            notes.append('to an earlier process %s' % pid_text(node['to']))
        tag = node['m.tag']
        print('  %-8s %-8s tag %s, from %s%s, %d bytes%s%s' % (
            first, what, TAGS.get(tag, tag), runtime.who(node['m.from.id']),
            ', ref ' + ref_text(node['m.ref.id']) if node['m.ref.id'] else '', node['m.size'],
            ': ' + self.payload(node, tag) if node['m.size'] else '', ' (%s)' % ', '.join(notes) if notes else ''))

    @staticmethod
    def payload(node, tag):
        try:
            if tag in (-2, -3) and node['m.size'] >= Layout.of('otp_reason').size:
                r = Record('otp_reason', node['m.data'])
                kind = r['kind']
                return '%s%s%s' % (REASONS[kind] if kind < len(REASONS) else kind,
                                   ' %d' % r['code'] if r['code'] else '',
                                   ' "%s"' % text_at(r['text']) if r['text'] else '')
            data = memory(node['m.data'], min(node['m.size'], 16))
        except gdb.MemoryError:
            return '(unreadable)'
        seen = ''.join(chr(c) if 32 <= c < 127 else '.' for c in data)
        return '%s%s |%s|' % (data.hex(' ', -4), ' …' if node['m.size'] > 16 else '', seen)


class Links(Subcommand):
    """Prints what a process has to do with others: links, monitors, aliases, open requests: otp links PID."""
    word = 'links'

    def run(self, runtime, argument):
        p = self.one(runtime, argument)
        print('%s %s' % (p.pid(), p.name()))
        lines = []
        if p['req_ref']:
            lines.append('has not answered %s, request %s' % (runtime.who(p['req_from']), ref_text(p['req_ref'])))
        if p['call_ref']:
            lines.append('calls %s, request %s' % (runtime.who(p['waits_for']) if p.waits() == K['OTP_WAITS_CALL'] else
                                                   'another process', ref_text(p['call_ref'])))
        broken = False
        if p['rel']:
            rel = Record('otp__rel', p['rel'])
            size = Layout.of('otp__ent').size
            broken = rel['count'] > rel['cap'] or rel['count'] > 1 << 24
            for i in range(0 if broken else rel['count']):
                lines.append(self.entry(runtime, Record('otp__ent', rel.addr + rel.layout.members['e'][0] + i * size)))
        for line in lines:
            print('  ' + line)
        if broken:
            print('  … the table is broken or is being changed')
        elif not lines:
            print('  nothing')

    @staticmethod
    def entry(runtime, e):
        kind, who, ref = e['kind'], runtime.who(e['who']), ref_text(e['key'])
        named = ' by the name "%s"' % text_at(e['name']) if e['name'] else ''
        if kind == K['OTP__R_LINK']:
            return 'linked to %s' % who if e['count'] else 'has unlinked %s, which has not answered yet' % who
        if kind == K['OTP__R_MON_OUT']:
            return 'monitors %s%s, ref %s%s' % (who, named, ref, ', which is an alias' if e['mode'] else '')
        if kind == K['OTP__R_MON_IN']:
            return 'monitored by %s, ref %s' % (who, ref)
        if kind == K['OTP__R_ALIAS']:
            return 'alias %s' % ref
        if kind == K['OTP__R_REQ_OUT']:
            return 'has asked %s, request %s' % (who, ref)
        if kind == K['OTP__R_REQ_IN']:
            return 'has not answered %s, request %s' % (who, ref)
        if kind == K['OTP__R_SUSPEND']:
            return 'has suspended %s, %d times' % (who, e['count'])
        return 'unknown entry %d' % kind


class Info(Subcommand):
    """Prints all that is known of a process: otp info PID."""
    word = 'info'

    def run(self, runtime, argument):
        p = self.one(runtime, argument)
        ext, handler, stack = p.extension(), p.handler(), p.stack()
        rows = [('pid', '%s (%#x), record at %#x' % (p.pid(), p['pid'], p.addr)), ('name', p.registered())]
        if ext and ext['label']:
            rows.append(('label', text_at(ext['label'])))
        rows.append(('state', describe_state(p)))
        if p['waits'] & K['OTP__TIMED'] and p['armed'] and p.waits():
            rows.append(('time out', runtime.until(p['armed'])))
        rows.append(('spawned', text_at(p['place']) or 'by a thread'))
        rows.append(('parent', runtime.who(p['parent'])))
        if handler:
            rows.append(('handler', '%s: %s, state at %#x' % (text_at(handler['name']) or '(no name)',
                                                               function_name(handler['message']), p['arg'])))
        elif p['run.fn']:
            rows.append(('function', '%s(%#x)' % (function_name(p['run.fn']), p['arg'])))
        flags = [text for flag, text in (('OTP__P_TRAP', 'traps exits'), ('OTP__P_GUEST', 'a thread of the program'),
                                         ('OTP__P_PINNED', 'on the main thread only'), ('OTP__P_EXITING', 'ending'),
                                         ('OTP__P_SYS_SUSPENDED', 'suspended by a system request'),
                                         ('OTP__P_TRACED', 'traced')) if p.has_flag(flag)]
        if flags:
            rows.append(('flags', ', '.join(flags)))
        rows.append(('priority', PRIORITIES[p['prio'] % 4]))
        rows.append(('reductions', p['reds_base'] + p['reds']))
        rows.append(('mailbox', '%s messages%s' % (p.queue_length(), ', at most %d' % p['mq_limit'] if p['mq_limit']
                                                    else '')))
        rows.append(('heap', '%d bytes' % p['heap_bytes']))
        if stack and not p.has_flag('OTP__P_GUEST'):
            rows.append(('stack', '%#x to %#x%s' % (stack['base'], stack['base'] + stack['size'],
                                                     self.depth(p, stack))))
        if ext:
            rows += self.extras(p, ext)
        for what, value in rows:
            if value != '':
                print('%-11s %s' % (what, value))

    @staticmethod
    def depth(p, stack):
        if p.thread() is not None:
            return ''
        registers, _, sp = saved_registers(stack)
        depth = stack.addr - registers[sp]
        return ', %d bytes deep' % depth if 0 <= depth <= stack['size'] else ''

    @staticmethod
    def extras(p, ext):
        rows = []
        if ext['suspended']:
            rows.append(('suspended', '%d times' % ext['suspended']))
        if ext['why']:
            r = Record('otp_reason', ext['why'])
            rows.append(('ends with', REASONS[r['kind'] % len(REASONS)]))
        for d in follow(ext['defers'], 'otp__defer', bound=1000):
            rows.append(('deferred', '%s(%#x)' % (function_name(d['fn']), d['arg']) if d else BROKEN))
        for d in follow(ext['dict'], 'otp__dict', bound=1000):
            rows.append(('dictionary', '%s = %#x' % (text_at(d.at('key')), d['value']) if d else BROKEN))
        if ext['job']:
            try:
                rows.append(('job', function_name(Record('otp__job', ext['job'])['fn'])))
            except gdb.MemoryError:
                pass
        return rows


class Queues(Subcommand):
    """Prints the schedulers: which thread each is on, what it runs, and who is queued."""
    word = 'queues'

    def run(self, runtime, argument):
        for s in runtime.scheds():
            self.sched(runtime, s)
        inject = self.chain(runtime, runtime.rt['inject.head'])
        if inject:
            print('from other threads: %s' % inject)
        lost = [t for t in runtime.threads() if t['steal'] & K['OTP__STEAL_MASK'] == K['OTP__STEAL_GONE']]
        for t in lost:
            th, _ = runtime.gdb_thread(t)
            p = runtime.at_address(t['cur']) if t['cur'] else None
            print('thread %s: its scheduler went on without it; it runs %s' % (
                th.num if th else '?', p.pid() + ' ' + p.name() if p else 'nothing'))

    def sched(self, runtime, s):
        main = s['main']
        t = None
        try:
            t = Record('otp__thread', s['thread']) if s['thread'] else None
        except gdb.MemoryError:
            pass
        if t is not None and t['p'] != s.addr:
            t = None
        th = runtime.gdb_thread(t)[0] if t is not None else None
        p = runtime.at_address(t['cur']) if t is not None and t['cur'] else None
        if p is not None and p.thread() is None:
            p = None
        doing = 'runs %s %s' % (p.pid(), p.name()) if p else 'waits for events' if s['in_poll'] else \
            'sleeps' if s['sleeping'] else 'looks for work' if t is not None else 'is on no thread'
        print('%s%s: %s; %d turns' % ('main thread' if main else 'scheduler %d' % s['id'],
                                      ' on thread %d' % th.num if th else '', doing.strip(), s['slices']))
        size = Layout.of('otp__queue').size
        rows = [('next', self.chain(runtime, s['run_next'], single=True))]
        at = s.layout.members['q'][0]
        for i in range(K['OTP__QUEUES']):
            rows.append((QUEUES[i], self.chain(runtime, number(s.data[at + i * size:at + i * size + pointer_size()]))))
        rows.append(('new', self.chain(runtime, s['fresh_new'])))
        rows.append(('inbox', self.chain(runtime, s['inbox'])))
        rows.append(('left', self.chain(runtime, s['pend'], single=True)))
        for name, text in rows:
            if text:
                print('  %-8s %s' % (name, text))

    @staticmethod
    def chain(runtime, first, single=False, show=20):
        out, n, seen = [], 0, set()
        while first:
            p = runtime.at_address(first)
            if p is None or first in seen or n >= BOUND:
                out.append('… ' + BROKEN)
                break
            seen.add(first)
            n += 1
            if n <= show:
                out.append((p.pid() + ' ' + p.name()).strip())
            first = 0 if single else p['qn']
        if n > show:
            out.insert(show, '… and %d more' % (n - show))
        return ', '.join(out)


class Timers(Subcommand):
    """Prints the timers that are running, soonest first: otp timers [PID]. Wake-ups are the time-outs of waits."""
    word = 'timers'

    def run(self, runtime, argument):
        only = runtime.find(argument)['pid'] if argument else None
        per_slab = K['OTP__SLAB'] // K['OTP__TIMER_BYTES']
        slots = min(runtime.rt['timer_slots'], per_slab * K['OTP__MAX_SLABS'])
        rows = []
        for first in range(0, slots, per_slab):
            base = runtime.array('timer_slabs', first // per_slab)
            n = min(per_slab, slots - first)
            data = memory(base, n * K['OTP__TIMER_BYTES']) if base else b''
            for i in range(len(data) // K['OTP__TIMER_BYTES']):
                at = i * K['OTP__TIMER_BYTES']
                tm = Record('otp__timer', base + at, data[at:at + K['OTP__TIMER_BYTES']])
                if tm['state'] & 3 != K['OTP__TIMER_ARMED']:
                    continue
                row = self.row(runtime, tm, only)
                if row:
                    rows.append(row)
        for due, text in sorted(rows):
            print('%-16s %s' % (runtime.until(due * 1000000) if due < FAR_FUTURE // 1000000 else 'never', text))
        print('%d timers' % len(rows))

    @staticmethod
    def row(runtime, tm, only):
        to = tm['to'] & (1 << 64) - 1
        more = None
        try:
            more = Record('otp__tmore', tm['more']) if tm['more'] else None
            node = Record('otp__node', tm['node']) if tm['node'] else None
        except gdb.MemoryError:
            return tm['due'], 'unreadable'
        if only is not None and to != only:
            return None
        who = '"%s"' % more.text('name') if to == (1 << 64) - 1 and more else runtime.who(to)
        if node is None:
            return tm['due'], 'wake-up of %s' % who
        tag = node['m.tag']
        ref = 1 << 63 | tm['state'] >> 2 << 32 | tm['index']
        return tm['due'], 'to %s: tag %s, %d bytes%s, ref %s' % (
            who, TAGS.get(tag, tag), node['m.size'],
            ', every %d ms' % more['interval'] if more and more['interval'] else '', ref_text(ref))


class Core(Subcommand):
    """Writes a core file with the stacks of all processes: otp core FILE.

gdb's own gcore leaves out the rest of a mapping when it meets a page that cannot be read, such as the guard page
below a stack. This runs gcore and then copies what it left out."""
    word = 'core'

    def run(self, runtime, argument):
        if not argument:
            fail('usage: otp core FILE')
        pid = gdb.selected_inferior().pid
        gdb.execute('generate-core-file %s' % argument, to_string=True)
        path = os.path.expanduser(argument)
        try:
            with open('/proc/%d/mem' % pid, 'rb', 0) as mem, open(path, 'r+b') as core:
                copied = self.fill(mem, core)
        except OSError as e:
            fail('%s was written, but not completed: %s' % (path, e))
        print('Saved %s; %d KiB that gcore had left out' % (path, copied // 1024))

    @staticmethod
    def fill(mem, core):
        header = core.read(64)
        if header[:6] != b'\x7fELF\x02\x01':
            raise OSError('not a 64-bit little-endian ELF file')
        table, size, count = number(header[32:40]), number(header[54:56]), number(header[56:58])
        if count == 0xffff:         # too many for the field: the first section header says how many
            core.seek(number(header[40:48]) + 44)
            count = number(core.read(4))
        copied = 0
        for i in range(count):
            core.seek(table + i * size)
            h = core.read(size)
            kind, flags, offset, addr, length = number(h[0:4]), number(h[4:8]), number(h[8:16]), number(h[16:24]), \
                number(h[32:40])
            if kind != 1 or not flags & 2 or length == 0:   # PT_LOAD, writable
                continue
            copied += Core.fill_segment(mem, core, offset, addr, length)
        return copied

    @staticmethod
    def fill_segment(mem, core, offset, addr, length):
        """Only where reading the whole fails: gcore has managed all others."""
        step, page, copied = 1 << 20, 4096, 0
        whole = True
        for at in range(0, length, step):
            try:
                mem.seek(addr + at)
                whole = len(mem.read(min(step, length - at))) == min(step, length - at)
            except OSError:
                whole = False
            if not whole:
                break
        if whole:
            return 0
        for at in range(0, length, page):
            try:
                mem.seek(addr + at)
                data = mem.read(min(page, length - at))
            except OSError:
                continue        # a guard
            core.seek(offset + at)
            if core.read(len(data)) != data:
                core.seek(offset + at)
                core.write(data)
                copied += len(data)
        return copied


Otp()
for command in (Ps, Bt, Select, Mailbox, Links, Info, Queues, Timers, Core):
    command()
