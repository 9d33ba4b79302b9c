%% The workloads of `make bench` in Erlang, for comparison.            SPDX-License-Identifier: MIT
%%
%%   erlc bench.erl && erl -noshell -noinput +P 4000000 +S 2:2 -run bench main WORKLOAD [N]
%%
%% Compiled to native code by the JIT with the default flags; +P because a million processes are more than the
%% default limit. Many processes are awaited with one atomic counter, the last one sends a message: what the C and
%% the Go program do as well.
-module(bench).
-export([main/1, hibernate_loop/1]).
-behaviour(gen_server).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

main([Workload]) -> main([Workload, "0"]);
main([Workload, N]) ->
    put(workload, Workload),
    put(amount, list_to_integer(N)),
    run(Workload),
    halt(0).

run("pingpong") -> pingpong();
run("pingpong_2") -> pingpong();
run("pingpong_pairs") -> pingpong_pairs();
run("ring") -> ring();
run("spawn") -> spawn_exit();
run("skynet") -> skynet();
run("fanin") -> fanin();
run("fanin_1") -> fanin();
run("idle_handler") -> idle(fun(I, L) -> idle_start(I, L) end, amount(1000000));
run("idle_function") -> idle(fun(I, L) -> idle_start(I, L) end, amount(200000));
run("idle_hibernated") -> idle(fun(I, L) -> hibernate_start(I, L) end, amount(200000));
run("timers_cancel") -> timers_cancel();
run("timers_fire") -> timers_fire();
run("echo") -> echo();
run("preempt_delay") -> preempt_delay();
run("call") -> call("per call with its answer, timeout 5 s");
run("call_2") -> call("per call with its answer, timeout 5 s");
run("call_clients") -> call_clients();
run("selective") -> selective();
run("cast") -> cast();
run("idle_server") -> idle(fun(I, L) -> idle_server_start(I, L) end, amount(1000000));
run(Other) ->
    io:format(standard_error, "bench.erl: unknown workload ~s~n", [Other]),
    halt(1).

amount(Standard) ->
    case get(amount) of
        0 -> Standard;
        N -> N
    end.

now_ns() -> erlang:monotonic_time(nanosecond).

report(Suffix, Value, Extra) ->
    io:format("~s~s\terlang\t~.2f\t~s~n", [get(workload), Suffix, float(Value), Extra]).

%% A counter and who is told when it reaches zero.
latch(N) ->
    Counter = atomics:new(1, []),
    ok = atomics:put(Counter, 1, N),
    {Counter, self()}.

latch_down({Counter, Waiter}) ->
    case atomics:sub_get(Counter, 1, 1) of
        0 -> Waiter ! done;
        _ -> ok
    end.

latch_wait() -> receive done -> ok end.

%% -- pingpong
ponger() ->
    receive
        {ping, From, N} -> From ! {pong, N + 1}, ponger();
        stop -> ok
    end.

ping(Rounds) ->
    Other = spawn_link(fun ponger/0),
    ping(Other, self(), 0, Rounds),
    Other ! stop.

ping(_, _, Rounds, Rounds) -> ok;
ping(Other, Self, I, Rounds) ->
    Other ! {ping, Self, I},
    Expected = I + 1,
    receive {pong, Expected} -> ok end,
    ping(Other, Self, Expected, Rounds).

pingpong() ->
    Rounds = amount(1000000),
    ping(Rounds div 100),
    Start = now_ns(),
    ping(Rounds),
    report("", (now_ns() - Start) / Rounds, "per round trip").

pingpong_pairs() ->
    Pairs = 64,
    Rounds = amount(1280000) div Pairs,
    Latch = latch(Pairs),
    Start = now_ns(),
    [spawn(fun() -> ping(Rounds), latch_down(Latch) end) || _ <- lists:seq(1, Pairs)],
    latch_wait(),
    report("", (now_ns() - Start) / (Pairs * Rounds), "per round trip, 64 pairs").

%% -- ring
ring_node(Next, Main) ->
    receive
        0 -> Main ! done, ring_node(Next, Main);
        N when is_integer(N) -> Next ! N - 1, ring_node(Next, Main)
    end.

ring() ->
    Hops = amount(1000000),
    Main = self(),
    Last = spawn_link(fun() -> receive {next, Next} -> ring_node(Next, Main) end end),
    First = lists:foldl(fun(_, Next) -> spawn_link(fun() -> ring_node(Next, Main) end) end, Last,
                        lists:seq(1, 502)),
    Last ! {next, First},
    First ! 503,
    latch_wait(),
    Start = now_ns(),
    First ! Hops,
    latch_wait(),
    report("", (now_ns() - Start) / Hops, "per hop, 503 processes").

%% -- spawn
spawn_exit() ->
    N = amount(1000000),
    Latch = latch(N),
    Body = fun() -> latch_down(Latch) end,
    Start = now_ns(),
    spawn_many(N, Body),
    latch_wait(),
    report("", (now_ns() - Start) / N, "per process").

spawn_many(0, _) -> ok;
spawn_many(N, Body) -> spawn(Body), spawn_many(N - 1, Body).

%% -- skynet
skynet_node(Parent, Number, 1) -> Parent ! Number;
skynet_node(Parent, Number, Size) ->
    Self = self(),
    Part = Size div 10,
    skynet_spawn(10, Self, Number, Part),
    Parent ! skynet_sum(10, 0).

skynet_spawn(0, _, _, _) -> ok;
skynet_spawn(I, Self, Number, Part) ->
    spawn(fun() -> skynet_node(Self, Number, Part) end),
    skynet_spawn(I - 1, Self, Number + Part, Part).

skynet_sum(0, Sum) -> Sum;
skynet_sum(I, Sum) -> receive N -> skynet_sum(I - 1, Sum + N) end.

skynet() ->
    Leaves = power_of_ten(1000000, amount(1000000)),
    Expected = Leaves * (Leaves - 1) div 2,
    Self = self(),
    Start = now_ns(),
    spawn(fun() -> skynet_node(Self, 0, Leaves) end),
    receive Expected -> ok end,
    report("", (now_ns() - Start) / Leaves, "per leaf").

power_of_ten(P, N) when P > N, P > 10 -> power_of_ten(P div 10, N);
power_of_ten(P, _) -> P.

%% -- fanin
fanin() ->
    Producers = 8,
    N = amount(2000000) div Producers,
    Main = self(),
    %% A consumer that many send to keeps its messages off its heap, or every collection copies them.
    Start = now_ns(),
    spawn_opt(fun() ->
                      Self = self(),
                      [spawn(fun() -> produce(Self, N) end) || _ <- lists:seq(1, Producers)],
                      Main ! {sum, consume(N * Producers, 0)}
              end, [{message_queue_data, off_heap}]),
    Sum = receive {sum, S} -> S end,
    Elapsed = now_ns() - Start,
    Sum = Producers * (N * (N + 1) div 2),
    report("", Elapsed / (N * Producers), "per message, 8 producers").

produce(_, 0) -> ok;
produce(To, N) -> To ! {item, N}, produce(To, N - 1).

consume(0, Sum) -> Sum;
consume(N, Sum) -> receive {item, I} -> consume(N - 1, Sum + I) end.

%% -- idle
idle_start(I, Latch) ->
    spawn(fun() ->
                  State = {I, I + 1, I + 2, I + 3, I + 4, I + 5, I + 6, I + 7},     % 64 bytes of its own
                  latch_down(Latch),
                  idle_loop(State)
          end).

idle_loop(State) ->
    receive {wake, From} -> From ! awake, idle_loop(State) end.

hibernate_start(I, Latch) ->
    spawn(fun() ->
                  State = {I, I + 1, I + 2, I + 3, I + 4, I + 5, I + 6, I + 7},
                  latch_down(Latch),
                  hibernate_loop(State)
          end).

hibernate_loop(State) ->
    receive
        {wake, From} -> From ! awake, hibernate_loop(State)
    after 0 ->
        erlang:hibernate(?MODULE, hibernate_loop, [State])
    end.

resident_bytes() ->
    {ok, Text} = file:read_file("/proc/" ++ os:getpid() ++ "/statm"),
    [_, Pages | _] = string:lexemes(Text, " "),
    binary_to_integer(Pages) * 4096.

idle(Start, N) ->
    Extra = io_lib:format("per process, ~b processes", [N]),
    Latch = latch(N),
    Before = resident_bytes(),
    T0 = now_ns(),
    Pids = [Start(I, Latch) || I <- lists:seq(1, N)],
    latch_wait(),
    Created = now_ns() - T0,
    timer:sleep(300),
    Bytes = resident_bytes() - Before - 16 * N,         % less the list of pids
    T1 = now_ns(),
    Self = self(),
    lists:foreach(fun(P) -> P ! {wake, Self} end, Pids),
    all_awake(N),
    report("", (now_ns() - T1) / N, Extra),
    report("_create", Created / N, Extra),
    report("_bytes", Bytes / N, "unit=bytes").

all_awake(0) -> ok;
all_awake(N) -> receive awake -> all_awake(N - 1) end.

%% -- timers
timers_cancel() ->
    N = amount(1000000),
    Start = now_ns(),
    cancel_loop(N, self()),
    report("", (now_ns() - Start) / N, "per start and cancel").

cancel_loop(0, _) -> ok;
cancel_loop(N, Self) ->
    Left = erlang:cancel_timer(erlang:send_after(5000, Self, tick)),
    true = is_integer(Left),
    cancel_loop(N - 1, Self).

timers_fire() ->
    N = amount(1000000),
    Start = now_ns(),
    fire_start(N, self()),
    fire_wait(N),
    report("", (now_ns() - Start) / N, "per timer of 10 ms, 1 M timers").

fire_start(0, _) -> ok;
fire_start(N, Self) -> erlang:send_after(10, Self, tick), fire_start(N - 1, Self).

fire_wait(0) -> ok;
fire_wait(N) -> receive tick -> fire_wait(N - 1) end.

%% -- echo: active sockets (half the time of passive ones), a process at each end. A message of 64 bytes on the
%% loopback is one segment and arrives whole.
echo() ->
    Connections = 50,
    Rounds = amount(200000) div Connections,
    Options = [binary, {active, true}, {nodelay, true}, {packet, raw}],
    {ok, Listener} = gen_tcp:listen(0, [{ip, {127, 0, 0, 1}}, {backlog, 64} | Options]),
    {ok, Port} = inet:port(Listener),
    spawn(fun() -> echo_accept(Listener) end),
    Ready = latch(Connections),
    Clients = [spawn(fun() ->
                             {ok, S} = gen_tcp:connect({127, 0, 0, 1}, Port, Options),
                             Message = binary:copy(<<"0123456789abcdef">>, 4),
                             echo_trips(S, Message, 1),
                             latch_down(Ready),
                             AllDone = receive {go, L} -> L end,
                             echo_trips(S, Message, Rounds),
                             latch_down(AllDone)
                     end) || _ <- lists:seq(1, Connections)],
    latch_wait(),
    Done = latch(Connections),
    Start = now_ns(),
    [C ! {go, Done} || C <- Clients],
    latch_wait(),
    report("", (now_ns() - Start) / (Rounds * Connections), "per message there and back, 50 connections").

echo_accept(Listener) ->
    {ok, S} = gen_tcp:accept(Listener),
    Server = spawn(fun() -> receive go -> echo_serve(S) end end),
    ok = gen_tcp:controlling_process(S, Server),
    Server ! go,
    echo_accept(Listener).

echo_serve(S) ->
    receive
        {tcp, S, Data} -> ok = gen_tcp:send(S, Data), echo_serve(S);
        {tcp_closed, S} -> ok
    end.

echo_trips(_, _, 0) -> ok;
echo_trips(S, Message, N) ->
    ok = gen_tcp:send(S, Message),
    receive {tcp, S, Message} -> ok end,
    echo_trips(S, Message, N - 1).

%% -- call, call_clients, selective, cast: a gen_server that adds; idle_server: one that waits
init({adder, Sum}) -> {ok, Sum};
init({idle, I, Latch}) ->
    latch_down(Latch),
    {ok, {I, I + 1, I + 2, I + 3, I + 4, I + 5, I + 6, I + 7}}.

handle_call(N, _From, Sum) -> {reply, Sum + N, Sum + N}.

handle_cast(N, Sum) -> {noreply, Sum + N}.

handle_info({wake, From}, State) ->
    From ! awake,
    {noreply, State}.

idle_server_start(I, Latch) ->
    {ok, Pid} = gen_server:start(?MODULE, {idle, I, Latch}, []),
    Pid.

adder() ->
    {ok, Pid} = gen_server:start_link(?MODULE, {adder, 0}, []),
    Pid.

call_loop(_, N, N) -> ok;
call_loop(Server, I, N) ->
    Sum = I + 1,
    Sum = gen_server:call(Server, 1, 5000),
    call_loop(Server, Sum, N).

call(Extra) ->
    N = amount(500000),
    Server = adder(),
    [gen_server:call(Server, 0) || _ <- lists:seq(1, N div 100)],
    Start = now_ns(),
    call_loop(Server, 0, N),
    report("", (now_ns() - Start) / N, Extra).

selective() ->
    [self() ! {item, I} || I <- lists:seq(1, 10000)],
    call("per call, 10,000 other messages waiting").

call_clients() ->
    Clients = 64,
    N = amount(1280000) div Clients,
    Server = adder(),
    Latch = latch(Clients),
    Start = now_ns(),
    [spawn(fun() -> client_loop(Server, N), latch_down(Latch) end) || _ <- lists:seq(1, Clients)],
    latch_wait(),
    Elapsed = now_ns() - Start,
    Sum = gen_server:call(Server, 0),
    Sum = N * Clients,
    report("", Elapsed / (N * Clients), "per call, 64 clients of one server").

client_loop(_, 0) -> ok;
client_loop(Server, N) ->
    _ = gen_server:call(Server, 1, 5000),
    client_loop(Server, N - 1).

cast() ->
    N = amount(2000000),
    Server = adder(),
    Start = now_ns(),
    cast_loop(Server, N),
    N = gen_server:call(Server, 0, infinity),
    report("", (now_ns() - Start) / N, "per cast, handled").

cast_loop(_, 0) -> ok;
cast_loop(Server, N) ->
    gen_server:cast(Server, 1),
    cast_loop(Server, N - 1).

%% -- preempt_delay
preempt_delay() ->
    Samples = 200,
    Busy = spawn(fun() -> compute(1) end),
    Late = lists:sort([begin
                           Start = now_ns(),
                           erlang:send_after(1, self(), tick),
                           receive tick -> ok end,
                           now_ns() - Start - 1000000
                       end || _ <- lists:seq(1, Samples)]),
    exit(Busy, kill),
    report("", lists:nth(Samples * 99 div 100, Late),
           io_lib:format("p99 of ~b; p50_us=~b max_us=~b", [Samples, lists:nth(Samples div 2, Late) div 1000,
                                                           lists:last(Late) div 1000])).

compute(X) -> compute((X * 636413 + 1) band 16#ffffff).
