%% Runs programs of the conformance test on Erlang. The same on otp.h is run.c; docs/conformance.md says what a
%% program is. Reads lines "IN OUT" from stdin: runs the programs of the file IN, writes their traces to OUT, says
%% "done".
-module(run).
-export([main/0, worker/1]).

-define(WINDOW, 8).             % programs that run at the same time
-define(PLAIN(Tag), Tag >= 10, Tag < 20).

-record(st, {slot, lines = [], pids = #{}, mons = #{}, brief = #{}, why = #{}, vars = #{}, susp = #{}, waiting = #{},
             unsettled = false, fuzzy = #{}, seen = #{}, taken = #{}, named = #{}}).

main() ->
    logger:set_primary_config(level, none),
    serve().

serve() ->
    case io:get_line("") of
        Line when is_list(Line) ->
            [In, Out] = string:lexemes(Line, " \n"),
            {ok, Text} = file:read_file(In),
            ok = file:write_file(Out, run_all(programs(Text))),
            io:put_chars("done\n"),
            serve();
        _ -> halt(0)
    end.

%% "program ID CLASS WORKERS SEED", its commands, "end".
programs(Text) -> programs(binary:split(Text, <<"\n">>, [global]), []).
programs([<<"program ", Head/binary>> | Rest], Acc) ->
    {Body, [_ | Rest1]} = lists:splitwith(fun(L) -> L =/= <<"end">> end, Rest),
    [Id, Class, Workers | _] = [binary_to_integer(N) || N <- binary:split(Head, <<" ">>, [global])],
    programs(Rest1, [{Id, Class, Workers, Body} | Acc]);
programs(_, Acc) -> lists:reverse(Acc).

run_all(Programs) ->
    Numbered = lists:zip(lists:seq(1, length(Programs)), Programs),
    run_all(Numbered, lists:seq(1, ?WINDOW), #{}, #{}).
run_all([], _, Busy, Done) when map_size(Busy) =:= 0 -> [Text || {_, Text} <- lists:sort(maps:to_list(Done))];
run_all([{N, P} | Rest], [Slot | Slots], Busy, Done) ->
    Self = self(),
    {Pid, Ref} = spawn_monitor(fun() -> Self ! {trace, self(), program(Slot, P)} end),
    run_all(Rest, Slots, Busy#{Pid => {N, Slot, Ref}}, Done);
run_all(Rest, Slots, Busy, Done) ->
    receive
        {trace, Pid, Text} ->
            #{Pid := {N, Slot, Ref}} = Busy,
            demonitor(Ref, [flush]),
            run_all(Rest, [Slot | Slots], maps:remove(Pid, Busy), Done#{N => Text});
        {'DOWN', _, process, Pid, Reason} ->
            #{Pid := {N, Slot, _}} = Busy,
            run_all(Rest, [Slot | Slots], maps:remove(Pid, Busy), Done#{N => io_lib:format("broken ~p~n", [Reason])})
    end.

program(Slot, {Id, 1, Workers, Body}) ->
    [io_lib:format("program ~b~n", [Id]), racy(Slot, Workers, Body), "end\n"];
program(Slot, {Id, 0, Workers, Body}) ->
    put(slot, Slot),
    St0 = lists:foldl(fun(I, S) -> born(I, spawn(?MODULE, worker, [self()]), S) end, #st{slot = Slot},
                      lists:seq(0, Workers - 1)),
    St = finish(lists:foldl(fun step/2, St0, Body)),
    [io_lib:format("program ~b~n", [Id]), lists:reverse(St#st.lines), "end\n"].

say(Format, Args, S) -> S#st{lines = [io_lib:format(Format, Args) | S#st.lines]}.

%% -- the controller ---------------------------------------------------------------------------------------

born(I, Pid, S) ->
    S#st{pids = (S#st.pids)#{I => Pid}, mons = (S#st.mons)#{I => monitor(process, Pid)},
         seen = (S#st.seen)#{I => 0}, taken = (S#st.taken)#{I => 0}}.

state(I, S) ->
    case S of
        #st{why = #{I := _}} -> dead;
        #st{brief = #{I := _}} -> dead;
        #st{pids = Pids} when not is_map_key(I, Pids) -> unborn;
        _ ->
            Suspended = suspended(I, S),
            if
                Suspended -> suspended;
                is_map_key(I, S#st.waiting) -> waiting;
                true -> ready
            end
    end.

%% Whether somebody who lives has suspended it.
suspended(I, S) -> maps:fold(fun({A, B}, N, Any) -> Any orelse (B =:= I andalso N > 0 andalso alive(A, S)) end, false,
                             S#st.susp).
alive(I, S) -> is_map_key(I, S#st.mons) andalso not is_map_key(I, S#st.why).

step(_, #st{unsettled = true} = S) -> S;            %% nothing can be said about what would come now
step(Line, S) ->
    [Actor, Op | Args] = binary:split(Line, <<" ">>, [global]),
    W = binary_to_integer(Actor),
    Command = list_to_tuple([binary_to_atom(Op) | [binary_to_integer(A) || A <- Args]]),
    case state(W, S) of
        ready ->
            case plan(W, Command, S) of
                skip -> say("~s -> skip~n", [Line], S);
                {F, After} ->
                    Before = S#st.why,
                    {Result, S1} = command(W, F, S),
                    S2 = settle(After(Result, S1)),
                    S3 = poke(echo(Command, S2)),
                    Shown = case S3#st.why of #{W := _} -> "died"; _ -> shown(Result) end,
                    Dead = [io_lib:format(" w~b:~s", [I, text(R)]) ||
                               {I, R} <- lists:sort(maps:to_list(S3#st.why)), not is_map_key(I, Before)],
                    S4 = say("~s -> ~s~s~n", [Line, Shown, case Dead of [] -> ""; _ -> ["; dead", Dead] end], S3),
                    arrivals(Dead =/= [] orelse element(1, Command) =:= brief, S4)
            end;
        Other -> say("~s -> ~s~n", [Line, Other], S)
    end.

shown({_, Shown}) -> Shown;
shown(Shown) -> Shown.

%% Has worker W call F; gives died when it did not live to tell.
command(W, F, S) ->
    #st{pids = #{W := Pid} = Pids, mons = #{W := Mon}} = S,
    Others = maps:values(maps:without([W], Pids)),
    Pid ! {cmd, F, Others},
    receive
        {ack, Pid, Result, Taken} -> {Result, S#st{taken = (S#st.taken)#{W => Taken}}};
        {'DOWN', Mon, process, _, Why} -> {died, S#st{why = (S#st.why)#{W => Why}}}
    end.

%% Waits until nothing is on its way. Whoever is dead must have been noticed by each that has a relation to it: a link
%% or monitor that is still listed means that its signal has not been taken in. docs/conformance.md has the argument.
settle(#st{unsettled = true} = S) -> S;
settle(S) -> settle(S, 0).
settle(S, N) when N > 810 -> say("unsettled~n", [], S#st{unsettled = true});
settle(S0, N) ->
    {Alive, Dead} = lists:partition(fun({_, P}) -> is_process_alive(P) end, maps:to_list(S0#st.pids)),
    S = lists:foldl(fun({I, _}, Acc) -> fate(I, Acc) end, S0, Dead),
    Gone = maps:from_list([{P, true} || {_, P} <- Dead]),
    Clean = lists:all(fun({I, P}) -> clean(I, P, Gone, S) end, Alive),
    if
        Clean -> S;
        N < 20 -> erlang:yield(), settle(S, N + 1);
        true -> receive after 1 -> ok end, settle(S, N + 1)
    end.

fate(I, S) when is_map_key(I, S#st.brief); is_map_key(I, S#st.why) -> S;
fate(I, S) ->
    #st{mons = #{I := Mon}} = S,
    receive {'DOWN', Mon, process, _, Why} -> S#st{why = (S#st.why)#{I => Why}} end.

clean(I, _, _, S) when is_map_key(I, S#st.brief) -> false;
clean(I, P, Gone, S) ->
    case process_info(P, [links, monitors, monitored_by, status]) of
        undefined -> false;
        [{links, L}, {monitors, M}, {monitored_by, B}, {status, Status}] ->
            Suspended = suspended(I, S),
            not lists:any(fun(X) -> is_map_key(X, Gone) end, L ++ B ++ [X || {process, X} <- M, is_pid(X)])
                andalso length([X || {process, {X, _}} <- M]) =< names_watched(I, S)
                andalso (Status =:= suspended) =:= Suspended
    end.

%% How many monitors by name of worker I may still be there.
names_watched(I, S) ->
    length([x || {name, Owner, _, Bound} <- maps:values(S#st.vars), Owner =:= I, Bound =/= I, alive(Bound, S)]).

%% A message through an alias may end a monitor of its owner: what the owner then sends has to arrive, too.
echo({send_alias, Var, _, _}, #st{unsettled = false} = S) ->
    Owner = element(2, map_get(Var, S#st.vars)),
    case state(Owner, S) of
        ready -> {_, S1} = command(Owner, fun() -> ok end, S), settle(S1);
        _ -> S
    end;
echo(_, S) -> S.

%% Those that wait for a message are asked whether it has come.
poke(#st{unsettled = true} = S) -> S;
poke(S) -> lists:foldl(fun poke/2, S, lists:sort(maps:keys(S#st.waiting))).
poke(I, S) ->
    case state(I, S) of
        waiting ->
            #{I := Pid} = S#st.pids,
            Pid ! poke,
            poked(I, Pid, S);
        dead -> S#st{waiting = maps:remove(I, S#st.waiting)};
        _ -> S
    end.
poked(I, Pid, S) ->
    receive
        {woke, Pid, M, Taken} ->
            Text = message(M, S#st.vars, S#st.pids),
            S1 = S#st{waiting = maps:remove(I, S#st.waiting), taken = (S#st.taken)#{I => Taken}},
            poked(I, Pid, say("  w~b got ~s~n", [I, Text], S1));
        {poked, Pid} -> S
    end.

%% Deaths in one step reach a mailbox in any order: two or more such messages are taken out at once and shown sorted.
arrivals(_, #st{unsettled = true} = S) -> S;
arrivals(Deaths, S) -> lists:foldl(fun(I, Acc) -> arrivals(I, Deaths, Acc) end, S, lists:sort(maps:keys(S#st.mons))).
arrivals(I, Deaths, S) ->
    case alive(I, S) of
        false -> S;
        true ->
            #st{pids = #{I := Pid}, seen = #{I := Seen}, taken = #{I := Taken}} = S,
            {_, Queue} = process_info(Pid, message_queue_len),
            New = Queue + Taken - Seen,
            S1 = S#st{seen = (S#st.seen)#{I => Queue + Taken}},
            Pending = is_map_key(I, S#st.fuzzy),
            case (Deaths andalso New > 1) orelse Pending of
                false -> S1;
                true ->
                    case state(I, S1) of
                        ready -> flush(I, if Pending -> 0; true -> Queue - New end, S1);
                        _ -> S1#st{fuzzy = (S1#st.fuzzy)#{I => true}}
                    end
            end
    end.

flush(I, InOrder, S) ->
    Vars = S#st.vars, Pids = S#st.pids,
    {Result, S1} = command(I, fun() -> flushed(InOrder, Vars, Pids) end, S),
    say("  w~b had ~s~n", [I, Result], S1#st{fuzzy = maps:remove(I, S1#st.fuzzy)}).

flushed(InOrder, Vars, Pids) ->
    All = drain(Vars, Pids),
    {First, Last} = lists:split(max(0, min(InOrder, length(All))), All),
    ["[", lists:join(" ", First ++ lists:sort([lists:flatten(M) || M <- Last])), "]"].

drain(Vars, Pids) ->
    receive M -> take(), [message(M, Vars, Pids) | drain(Vars, Pids)]
    after 0 -> []
    end.

finish(S) ->
    S1 = lists:foldl(fun(I, Acc) ->
        case state(I, Acc) of
            _ when Acc#st.unsettled -> Acc;
            ready -> flush(I, case Acc#st.fuzzy of #{I := _} -> 0; _ -> 1 bsl 20 end, Acc);
            dead -> say("  w~b is dead~n", [I], Acc);
            Other ->
                #st{pids = #{I := Pid}} = Acc,
                {_, Queue} = process_info(Pid, message_queue_len),
                say("  w~b is ~s, ~b queued~n", [I, Other, Queue], Acc)
        end end, S, lists:sort(maps:keys(S#st.pids))),
    [erlang:cancel_timer(R) || {timer, _, R} <- maps:values(S1#st.vars)],
    [exit(P, kill) || P <- maps:values(S1#st.pids)],
    Ends = [receive {'DOWN', M, process, _, R} -> text(R) end ||
               {I, M} <- lists:sort(maps:to_list(S1#st.mons)), not is_map_key(I, S1#st.why)],
    say("  ends:~s; names left:~s~n", [[[" ", E] || E <- Ends], names(S1#st.pids)], S1).

%% -- what each command does: plan gives what the worker calls, and what the controller notes ----------------------

plan(W, Command, S) ->
    Target = case Command of
        {Op, X} when Op =:= link; Op =:= unlink; Op =:= unlink_flush; Op =:= alive; Op =:= queue; Op =:= trapping;
                     Op =:= suspend; Op =:= resume; Op =:= recv_from; Op =:= timers -> X;
        {Op, X, _} when Op =:= monitor; Op =:= signal; Op =:= relations -> X;
        {send, X, _, _} -> X;
        {timers, X, _} -> X;
        {monitor_opt, X, _, _, _} -> X;
        {register, _, X} -> X;
        {timer, Kind, X, _, _, _, _} when Kind < 2 -> X;
        _ -> none
    end,
    case Target of
        none -> plan(W, none, Command, S);
        _ when is_map_key(Target, S#st.pids) -> plan(W, map_get(Target, S#st.pids), Command, S);
        _ -> skip
    end.

-define(DO(E), {fun() -> E end, fun(_, St) -> St end}).
-define(VAR(E, V), {fun() -> E end, fun(died, St) -> St; ({Got, _}, St) -> note(V, Got, St) end}).

note(V, Got, S) -> S#st{vars = (S#st.vars)#{V => Got}}.

plan(_, _, {Op, X, _, _}, S) when Op =:= spawn, is_map_key(X, S#st.pids) -> skip;
plan(_, _, {brief, X, _, _, _}, S) when is_map_key(X, S#st.pids) -> skip;
plan(W, _, {spawn, X, Kind, V}, _) ->
    Ctl = self(),
    {fun() -> {start(Kind, fun() -> worker(Ctl) end), "ok"} end,
     fun(died, S) -> S;
        ({{Pid, Ref}, _}, S) -> S1 = born(X, Pid, S), if Kind band 2 =/= 0 -> note(V, {mon, W, Ref}, S1); true -> S1 end
     end};
plan(W, _, {brief, X, Kind, V, R}, _) ->
    Ctl = self(),
    {fun() -> {start(Kind, fun() -> Ctl ! {brief, self()}, exit(reason(R)) end), "ok"} end,
     fun(Result, S) ->
        %% The actor may die of it before it can tell: then nobody knows the reference, and any other does as well.
        Ref = case Result of {{_, Got}, _} -> Got; died -> make_ref() end,
        receive {brief, Pid} ->
            S1 = S#st{pids = (S#st.pids)#{X => Pid}, brief = (S#st.brief)#{X => true}},
            if Kind band 2 =/= 0 -> note(V, {mon, W, Ref}, S1); true -> S1 end
        end
     end};
plan(_, P, {link, _}, _) ->
    ?DO(begin try link(P) catch error:noproc -> exit(noproc) end, "ok" end);
plan(_, P, {unlink, _}, _) -> ?DO(begin true = unlink(P), "ok" end);
plan(_, P, {unlink_flush, _}, _) ->
    ?DO(begin unlink(P), receive {'EXIT', P, _} -> take(), "true" after 0 -> "false" end end);
plan(W, P, {monitor, _, V}, _) -> ?VAR({{mon, W, monitor(process, P)}, "ok"}, V);
plan(W, _, {monitor_name, N, V}, S) ->
    Name = name(N), Pids = S#st.pids,
    {fun() -> Bound = who(whereis(Name), Pids), {{name, W, monitor(process, Name), Bound}, "ok"} end,
     fun(died, St) -> St; ({Got, _}, St) -> (note(V, Got, St))#st{named = (St#st.named)#{W => true}} end};
plan(W, P, {monitor_opt, _, V, Alias, Tag}, _) ->
    Opts = case Alias of 0 -> []; 1 -> [{alias, explicit_unalias}]; 2 -> [{alias, demonitor}];
                         3 -> [{alias, reply_demonitor}] end ++ [{tag, Tag} || Tag =/= 0],
    ?VAR({{if Alias =:= 0 -> mon; true -> both end, W, monitor(process, P, Opts)}, "ok"}, V);
plan(W, _, {demonitor, V, Flags}, S) ->
    case S#st.vars of
        #{V := Var} when element(1, Var) =:= mon; element(1, Var) =:= name; element(1, Var) =:= both ->
            Ref = element(3, Var),
            Opts = [flush || Flags band 1 =/= 0] ++ [info || Flags band 2 =/= 0],
            {fun() -> {_, Before} = process_info(self(), message_queue_len),
                      R = demonitor(Ref, Opts),
                      {_, Now} = process_info(self(), message_queue_len),
                      [take() || Flags band 1 =/= 0, Now < Before], atom_to_list(R) end,
             %% By name: it may not be counted any more, if the caller was the owner.
             fun(_, St) when element(1, Var) =:= name, element(2, Var) =:= W -> note(V, {mon, W, Ref}, St);
                (_, St) -> St end};
        _ -> skip
    end;
plan(W, _, {alias, V, Mode}, _) ->
    ?VAR({{alias, W, alias(case Mode of 1 -> [explicit_unalias]; 3 -> [reply] end)}, "ok"}, V);
plan(_, _, {unalias, V}, S) ->
    case S#st.vars of
        #{V := Var} when element(1, Var) =:= alias; element(1, Var) =:= both ->
            Ref = element(3, Var), ?DO(atom_to_list(unalias(Ref)));
        _ -> skip
    end;
plan(_, _, {send_alias, V, Tag, Val}, S) ->
    case S#st.vars of
        #{V := Var} when element(1, Var) =:= alias; element(1, Var) =:= both ->
            Ref = element(3, Var),
            case state(element(2, Var), S) of
                Busy when Busy =:= suspended; Busy =:= waiting -> skip;
                _ -> ?DO(begin Ref ! {m, Tag, Val, self(), Ref}, "ok" end)
            end;
        _ -> skip
    end;
plan(_, P, {signal, _, R}, _) -> ?DO(begin true = exit(P, reason(R)), "ok" end);
plan(_, _, {exit, R}, _) -> ?DO(exit(reason(R)));
plan(_, _, {return}, _) -> ?DO(throw(return));
plan(_, _, {crash}, _) -> ?DO(error(badarith));
plan(_, _, {trap, On}, _) -> ?DO(atom_to_list(process_flag(trap_exit, On =:= 1)));
plan(_, P, {register, N, _}, _) ->
    Name = name(N), ?DO(try register(Name, P) of true -> "ok" catch error:badarg -> "error" end);
plan(_, _, {unregister, N}, _) ->
    Name = name(N), ?DO(try unregister(Name) of true -> "ok" catch error:badarg -> "error" end);
plan(_, _, {whereis, N}, S) -> Name = name(N), Pids = S#st.pids, ?DO(pid(whereis(Name), Pids));
plan(_, _, {registered}, S) -> Pids = S#st.pids, All = all_names(), ?DO(names(Pids, All));
plan(_, P, {send, _, Tag, Val}, _) -> ?DO(begin P ! {m, Tag, Val, self(), none}, "ok" end);
plan(_, _, {send_name, N, Tag, Val}, _) ->
    Name = name(N), ?DO(try Name ! {m, Tag, Val, self(), none} of _ -> "ok" catch error:badarg -> "error" end);
plan(_, P, {timer, Kind, To, Ms, Tag, Val, V}, S) ->
    Dest = if Kind < 2 -> P; true -> name(To rem 4) end,
    Pid = if Kind < 2 -> P; true -> whereis(Dest) end,
    case state(who(Pid, S#st.pids), S) of
        waiting when Ms < 1000 -> skip;
        _ ->
            ?VAR(begin
                     Before = queued(Pid),
                     Ref = if Kind band 1 =:= 0 -> erlang:send_after(Ms, Dest, {m, Tag, Val, timer, none});
                              true -> erlang:start_timer(Ms, Dest, Val) end,
                     if Ms < 1000 -> fired(Ref), more(Pid, Before, 1); true -> ok end,
                     {{timer, x, Ref}, "ok"}
                 end, V)
    end;
plan(_, P, {timers, _, Val}, S) ->
    case state(who(P, S#st.pids), S) of
        waiting -> skip;
        _ -> ?DO(begin Before = queued(P), in_order(P, Val, 3), more(P, Before, 3), "ok" end)
    end;
plan(_, _, {Op, V}, S) when Op =:= cancel; Op =:= read ->
    case S#st.vars of
        #{V := {timer, _, Ref}} ->
            ?DO(case if Op =:= cancel -> erlang:cancel_timer(Ref); true -> erlang:read_timer(Ref) end of
                    false -> "false"; N when N >= 0 -> "left" end);
        _ -> skip
    end;
plan(_, _, {recv, Ms}, S) -> Vars = S#st.vars, Pids = S#st.pids, ?DO(recv(fun(_) -> true end, Ms, Vars, Pids));
plan(_, _, {recv_tag, Tag, Ms}, S) ->
    Vars = S#st.vars, Pids = S#st.pids, ?DO(recv(fun(M) -> tag(M, Vars) =:= Tag end, Ms, Vars, Pids));
plan(_, _, {recv_tags, T1, T2}, S) ->
    Vars = S#st.vars, Pids = S#st.pids,
    ?DO(recv(fun(M) -> T = tag(M, Vars), T =:= T1 orelse T =:= T2 end, 0, Vars, Pids));
plan(_, P, {recv_from, _}, S) ->
    Vars = S#st.vars, Pids = S#st.pids, ?DO(recv(fun({'EXIT', X, _}) -> X =:= P; (_) -> false end, 0, Vars, Pids));
plan(_, _, {recv_val, Tag, Val}, S) ->
    Vars = S#st.vars, Pids = S#st.pids,
    ?DO(recv(fun({m, T, X, _, _}) -> T =:= Tag andalso X >= Val; (_) -> false end, 0, Vars, Pids));
plan(_, _, {recv_ref, V, Ms}, S) ->
    case S#st.vars of
        #{V := Var} ->
            Ref = element(3, Var), Vars = S#st.vars, Pids = S#st.pids,
            %% A message through an alias carries its reference, as it does in otp.h.
            ?DO(receive {_, Ref, process, _, _} = M -> take(), message(M, Vars, Pids);
                        {m, _, _, _, Ref} = M -> take(), message(M, Vars, Pids);
                        {timeout, Ref, _} = M -> take(), message(M, Vars, Pids)
                after Ms -> "nothing" end);
        _ -> skip
    end;
plan(_, _, {flush}, S) -> Vars = S#st.vars, Pids = S#st.pids, ?DO(flushed(1 bsl 20, Vars, Pids));
plan(W, _, {await, Tag}, _) ->
    {fun() -> put('$await', Tag), "ok" end, fun(_, St) -> St#st{waiting = (St#st.waiting)#{W => Tag}} end};
plan(_, P, {alive, _}, _) -> ?DO(atom_to_list(is_process_alive(P)));
plan(_, P, {relations, X, What}, S) ->
    Pids = S#st.pids, Named = is_map_key(X, S#st.named),
    Item = element(What + 1, {links, monitors, monitored_by}),
    ?DO(case process_info(P, Item) of
            undefined -> "dead";
            {_, L} when What =:= 1, Named -> integer_to_list(length(L));
            {_, L} ->
                L1 = [case E of {process, Q} -> Q; _ -> E end || E <- L],
                ["[", lists:join(" ", lists:sort([pid(Q, Pids) || Q <- L1, who(Q, Pids) =/= none])), "]"]
        end);
plan(_, P, {queue, _}, _) ->
    ?DO(case process_info(P, message_queue_len) of undefined -> "dead"; {_, N} -> integer_to_list(N) end);
plan(_, P, {trapping, _}, _) ->
    ?DO(case process_info(P, trap_exit) of undefined -> "dead"; {_, On} -> atom_to_list(On) end);
plan(_, _, {put, K, V}, _) -> ?DO(value(put(K, V)));
plan(_, _, {get, K}, _) -> ?DO(value(get(K)));
plan(_, _, {erase, K}, _) -> ?DO(value(erase(K)));
plan(_, _, {priority, P}, _) -> ?DO(atom_to_list(process_flag(priority, element(P + 1, {low, normal, high}))));
plan(W, P, {suspend, X}, _) ->
    {fun() -> try erlang:suspend_process(P) of true -> "ok" catch error:_ -> "error" end end,
     fun("ok", St) -> St#st{susp = maps:update_with({W, X}, fun(N) -> N + 1 end, 1, St#st.susp)}; (_, St) -> St end};
plan(W, P, {resume, X}, _) ->
    {fun() -> try erlang:resume_process(P) of true -> "ok" catch error:_ -> "error" end end,
     fun("ok", St) -> St#st{susp = maps:update_with({W, X}, fun(N) -> N - 1 end, 0, St#st.susp)}; (_, St) -> St end};
plan(_, _, {hibernate}, _) -> ?DO(begin put('$hibernate', true), "ok" end);
plan(_, _, {yield}, _) -> ?DO(begin erlang:yield(), "ok" end).

start(Kind, F) ->
    case Kind of
        0 -> {spawn(F), none};
        1 -> {spawn_link(F), none};
        2 -> spawn_monitor(F);
        3 -> spawn_opt(F, [link, monitor])
    end.

value(undefined) -> "none";
value(N) -> integer_to_list(N).

queued(Pid) when is_pid(Pid) ->
    case process_info(Pid, message_queue_len) of undefined -> dead; {_, N} -> N end;
queued(_) -> dead.

fired(Ref) ->
    case erlang:read_timer(Ref) of
        false -> ok;
        _ -> receive after 1 -> fired(Ref) end
    end.

more(_, dead, _) -> ok;
more(Pid, Before, N) ->
    case queued(Pid) of
        dead -> ok;
        Now when Now >= Before + N -> ok;
        _ -> receive after 1 -> more(Pid, Before, N) end
    end.

%% Three timers in another order than that of their deadlines, all started before the first is due.
in_order(P, Val, Wait) ->
    Base = erlang:monotonic_time(millisecond) + Wait,
    Refs = [erlang:send_after(Base + D, P, {m, 10, Val + D, timer, none}, [{abs, true}]) || D <- [2, 0, 1]],
    case erlang:monotonic_time(millisecond) < Base orelse not is_process_alive(P) of
        true -> ok;
        false ->
            case [erlang:cancel_timer(R) || R <- Refs] of
                [A, B, C] when is_integer(A), is_integer(B), is_integer(C) -> in_order(P, Val, Wait * 2);
                _ -> exit(too_slow)
            end
    end.

%% -- the workers ------------------------------------------------------------------------------------------

%% Each does what it is told, and then makes sure that all it has sent has arrived.
worker(Ctl) ->
    receive
        {cmd, F, Others} ->
            try F() of
                Result ->
                    [is_process_alive(P) || P <- Others],
                    Ctl ! {ack, self(), Result, taken()},
                    case erase('$await') of
                        undefined -> ok;
                        Tag -> await(Ctl, Tag)
                    end,
                    case erase('$hibernate') of
                        undefined -> worker(Ctl);
                        true -> erlang:hibernate(?MODULE, worker, [Ctl])
                    end
            catch throw:return -> returned
            end;
        poke -> Ctl ! {poked, self()}, worker(Ctl)
    end.

await(Ctl, Tag) ->
    receive
        {m, Tag, _, _, _} = M -> take(), Ctl ! {woke, self(), M, taken()};
        poke -> Ctl ! {poked, self()}, await(Ctl, Tag)
    end.

taken() -> case get('$taken') of undefined -> 0; N -> N end.
take() -> put('$taken', taken() + 1).

%% The oldest message that fits. Erlang has no receive by a function: look at the queue, then take that one out.
recv(Fits, Ms, Vars, Pids) ->
    {messages, All} = process_info(self(), messages),
    case lists:filter(Fits, All) of
        [M | _] -> receive M -> take(), message(M, Vars, Pids) end;
        [] ->
            receive after Ms -> ok end,
            case process_info(self(), messages) of
                {messages, All} -> "nothing";
                _ -> "changed"
            end
    end.

%% -- names, reasons and messages as text ---------------------------------------------------------------------

name(N) -> list_to_atom("c" ++ integer_to_list(get(slot)) ++ "_" ++ integer_to_list(N)).
all_names() -> [name(N) || N <- lists:seq(0, 3)].
names(Pids) -> names(Pids, all_names()).
names(Pids, All) ->
    Known = registered(),
    [[" ", integer_to_list(N), "=", pid(whereis(Name), Pids)] ||
        {N, Name} <- lists:zip(lists:seq(0, 3), All), lists:member(Name, Known)].

who(P, Pids) -> case [I || {I, Q} <- maps:to_list(Pids), Q =:= P] of [I] -> I; [] -> none end.
pid(undefined, _) -> "none";
pid(P, Pids) -> case who(P, Pids) of none -> "?"; I -> [$w | integer_to_list(I)] end.

var(Ref, Vars) ->
    case [V || {V, Var} <- maps:to_list(Vars), element(3, Var) =:= Ref] of
        [V] -> integer_to_list(V);
        [] -> "?"
    end.

reason(R) ->
    element(R + 1, {normal, shutdown, kill, killed, noproc, timeout, {user, 1}, {user, 2}, {error, 2},
                    {user, 3, "text"}}).

text({user, N}) -> ["user", integer_to_list(N)];
text({user, N, Text}) -> ["user", integer_to_list(N), ":", Text];
text({error, N}) -> ["error", integer_to_list(N)];
text({badarith, _}) -> "crash";
text(R) when is_atom(R) -> atom_to_list(R);
text(R) -> io_lib:format("~0p", [R]).

tag({m, Tag, _, _, _}, _) -> Tag;
tag({'EXIT', _, _}, _) -> -2;
tag({'DOWN', _, process, _, _}, _) -> -3;
tag({Tag, _, process, _, _}, _) -> Tag;
tag({timeout, _, _}, _) -> -5;
tag(_, _) -> none.

message({m, Tag, Val, timer, none}, _, _) -> io_lib:format("m(~b,~b)", [Tag, Val]);
message({m, Tag, Val, From, _}, _, Pids) -> io_lib:format("m(~b,~b,~s)", [Tag, Val, pid(From, Pids)]);
message({'EXIT', From, R}, _, Pids) -> io_lib:format("EXIT(~s,~s)", [pid(From, Pids), text(R)]);
message({timeout, Ref, Val}, Vars, _) -> io_lib:format("TIMEOUT(r~s,~b)", [var(Ref, Vars), Val]);
message({Tag, Ref, process, Who, R}, Vars, Pids) ->
    Name = case Who of
        {Name0, _} -> ["n" | lists:last(string:split(atom_to_list(Name0), "_"))];
        _ -> pid(Who, Pids)
    end,
    io_lib:format("~s(r~s,~s,~s)", [if Tag =:= 'DOWN' -> "DOWN"; true -> ["DOWN", integer_to_list(Tag)] end,
                                    var(Ref, Vars), Name, text(R)]);
message(M, _, _) -> io_lib:format("~0p", [M]).

%% -- racy programs ------------------------------------------------------------------------------------------

%% All workers go through their commands at the same time. Those with the lowest numbers are observers: they trap exits,
%% nobody harms them, and what they have seen in the end must obey the rules whatever the order was. The others send
%% each observer messages and exit signals with running numbers, harm each other, and end with a reason of their own.
racy(Slot, Workers, Body) ->
    Observers = max(1, Workers div 3),
    Ctl = self(),
    put(slot, Slot),
    Names = all_names(),
    Lists = [{I, [list_to_tuple([binary_to_atom(Op) | [binary_to_integer(A) || A <- Args]]) ||
                     [W, Op | Args] <- [binary:split(L, <<" ">>, [global]) || L <- Body],
                     binary_to_integer(W) =:= I]} || I <- lists:seq(0, Workers - 1)],
    Started = maps:from_list([{I, spawn_monitor(fun() -> racer(I, I < Observers, Ctl, List) end)} ||
                                 {I, List} <- Lists]),
    Pids = maps:map(fun(_, {P, _}) -> P end, Started),
    Aliases = maps:from_list([receive {alias, I, A} -> {I, A} end || I <- lists:seq(0, Observers - 1)]),
    [P ! {go, Pids, Aliases, Names} || P <- maps:values(Pids)],
    [receive {listed, I} -> ok end || I <- lists:seq(0, Observers - 1)],
    Whys = maps:map(fun(_, {_, M}) -> receive {'DOWN', M, process, _, R} -> text(R) end end,
                    maps:filter(fun(I, _) -> I >= Observers end, Started)),
    Dead = [map_get(I, Pids) || I <- maps:keys(Whys)],
    Unnoticed = [noticed(I, map_get(I, Pids), Dead, 0) || I <- lists:seq(0, Observers - 1)],
    [map_get(I, Pids) ! {finish, Whys} || I <- lists:seq(0, Observers - 1)],
    Facts = [receive {facts, I, F} -> [io_lib:format("  w~b:", [I]), F, "\n"] end || I <- lists:seq(0, Observers - 1)],
    [begin {P, M} = map_get(I, Started), exit(P, kill), receive {'DOWN', M, process, _, _} -> ok end end ||
        I <- lists:seq(0, Observers - 1)],
    [Unnoticed, Facts, "  names left:", names(Pids), "\n"].

noticed(I, _, _, 3000) -> io_lib:format("  w~b has never learnt of a death~n", [I]);
noticed(I, Pid, Dead, N) ->
    [{links, L}, {monitors, M}] = process_info(Pid, [links, monitors]),
    case [P || P <- Dead, lists:member(P, L) orelse lists:member({process, P}, M)] of
        [] -> "";
        _ -> receive after 1 -> noticed(I, Pid, Dead, N + 1) end
    end.

racer(I, true, Ctl, List) ->
    process_flag(trap_exit, true),
    Alias = alias([reply]),
    Ctl ! {alias, I, Alias},
    receive {go, Pids, _, _} ->
        Log = lists:foldl(fun(C, L) -> observe(C, Pids, L) end, #{alias => Alias}, List),
        Ctl ! {listed, I},
        receive {finish, Whys} -> Ctl ! {facts, I, facts(Log, Pids, Whys)} end,
        receive never -> ok end
    end;
racer(I, false, _, List) ->
    receive {go, Pids, Aliases, Names} ->
        All = lists:foldl(fun(C, Sent) -> race(C, Pids, Aliases, Names, Sent) end, #{}, List),
        [map_get(X, Pids) ! {total, self(), maps:get(X, All, 0)} || X <- maps:keys(Aliases)],
        exit({user, 900 + I})
    end.

observe({link, T}, Pids, Log) when is_map_key(T, Pids) ->
    link(map_get(T, Pids)), maps:update_with({link, T}, fun(N) -> N + 1 end, 1, Log);
observe({unlink_flush, T}, Pids, Log) when is_map_key(T, Pids) ->
    P = map_get(T, Pids), unlink(P), flush_exits(P), maps:remove({link, T}, Log);
observe({monitor, T, V}, Pids, Log) when is_map_key(T, Pids) ->
    Log#{{mon, V} => {T, monitor(process, map_get(T, Pids)), kept}};
observe({demonitor, V, Flags}, _, Log) ->
    case Log of
        #{{mon, V} := {T, Ref, kept}} ->
            Was = demonitor(Ref, [flush || Flags band 1 =/= 0] ++ [info || Flags band 2 =/= 0]),
            Log#{{mon, V} => {T, Ref, if Flags band 1 =/= 0 -> none; Flags =:= 0 -> any; Was -> none; true -> one end}};
        _ -> Log
    end;
observe({timer, 0, _, Ms, _, Val, V}, _, Log) when Ms < 1000 ->
    Log#{{timer, V} => {erlang:send_after(Ms, self(), {timer, Val}), Val, one}};
observe({cancel, V}, _, Log) ->
    case Log of
        #{{timer, V} := {Ref, Val, _}} ->
            case erlang:cancel_timer(Ref) of
                false -> Log;           %% it has fired, or it was cancelled before
                _ -> Log#{{timer, V} => {Ref, Val, none}}
            end;
        _ -> Log
    end;
observe({unalias, _}, _, Log) ->
    case Log of
        #{unalias := _} -> Log;
        #{alias := A} -> Log#{unalias => unalias(A)}
    end;
observe({yield}, _, Log) -> erlang:yield(), Log;
observe(_, _, Log) -> Log.

flush_exits(P) ->
    receive
        {'EXIT', P, R} when not is_tuple(R); element(1, R) =/= user; element(2, R) < 100; element(2, R) >= 900 ->
            flush_exits(P)
    after 0 -> ok
    end.

race({send, X, _, _}, Pids, Aliases, _, Sent) when is_map_key(X, Aliases) ->
    N = maps:get(X, Sent, 0) + 1, map_get(X, Pids) ! {number, self(), N}, Sent#{X => N};
race({send, X, _, _}, Pids, _, _, Sent) when is_map_key(X, Pids) -> map_get(X, Pids) ! nothing, Sent;
race({signal, X, _}, Pids, Aliases, _, Sent) when is_map_key(X, Aliases) ->
    N = maps:get(X, Sent, 0) + 1, exit(map_get(X, Pids), {user, 100 + N}), Sent#{X => N};
race({signal, X, R}, Pids, _, _, Sent) when is_map_key(X, Pids) -> exit(map_get(X, Pids), reason(R)), Sent;
race({send_alias, X, _, _}, _, Aliases, _, Sent) when is_map_key(X, Aliases) -> map_get(X, Aliases) ! {alias, X}, Sent;
race({link, X}, Pids, Aliases, _, Sent) when is_map_key(X, Pids), not is_map_key(X, Aliases) ->
    try link(map_get(X, Pids)) catch error:noproc -> exit(noproc) end, Sent;
race({unlink, X}, Pids, Aliases, _, Sent) when is_map_key(X, Pids), not is_map_key(X, Aliases) ->
    unlink(map_get(X, Pids)), Sent;
race({monitor, X, _}, Pids, _, _, Sent) when is_map_key(X, Pids) -> monitor(process, map_get(X, Pids)), Sent;
race({trap, On}, _, _, _, Sent) -> process_flag(trap_exit, On =:= 1), Sent;
race({register, N, _}, _, _, Names, Sent) -> catch register(lists:nth(N + 1, Names), self()), Sent;
race({yield}, _, _, _, Sent) -> erlang:yield(), Sent;
race(_, _, _, _, Sent) -> Sent.

facts(Log, Pids, Whys) ->
    All = everything(),
    Found = [fact(K, V, All, Pids, Whys, Log) || {K, V} <- lists:sort(maps:to_list(Log))] ++
        [order(T, All, map_get(T, Pids), map_get(T, Whys)) || T <- lists:sort(maps:keys(Whys))] ++
        [unlinked(T, All, map_get(T, Pids)) || T <- lists:sort(maps:keys(Whys)), not is_map_key({link, T}, Log)],
    case lists:flatten(Found) of [] -> " fine"; Text -> Text end.

everything() -> receive M -> [M | everything()] after 0 -> [] end.

%% How many EXIT messages of the death of a process there are, and how many of them do not say noproc.
exits(All, P) ->
    Of = [text(R) || {'EXIT', Q, R} <- All, Q =:= P, not numbered(R)],
    {length(Of), length([x || R <- Of, R =/= "noproc"]), Of}.
numbered({user, N}) -> N >= 100 andalso N < 900;
numbered(_) -> false.

fact({link, T}, Links, All, Pids, Whys, _) when is_map_key(T, Whys) ->
    {N, True, Of} = exits(All, map_get(T, Pids)),
    Why = lists:flatten(map_get(T, Whys)),
    Right = lists:all(fun(R) -> lists:flatten(R) =:= Why orelse R =:= "noproc" end, Of),
    [io_lib:format(" ~b EXIT for ~b links to w~b", [N, Links, T]) || N < 1 orelse N > Links] ++
        [io_lib:format(" EXIT of w~b twice", [T]) || True > 1, Why =/= "noproc"] ++
        [io_lib:format(" EXIT of w~b with a wrong reason", [T]) || not Right];
fact({mon, V}, {T, Ref, Expected}, All, _, Whys, _) when is_map_key(T, Whys) ->
    Of = [lists:flatten(text(R)) || {'DOWN', Q, process, _, R} <- All, Q =:= Ref],
    N = length(Of),
    Right = case Expected of kept -> N =:= 1; one -> N =:= 1; none -> N =:= 0; any -> N =< 1 end,
    Why = lists:flatten(map_get(T, Whys)),
    [io_lib:format(" ~b DOWN for r~b (~s)", [N, V, Expected]) || not Right] ++
        [io_lib:format(" DOWN for r~b with a wrong reason", [V]) || R <- Of, R =/= Why, R =/= "noproc"];
fact({timer, V}, {_, Val, Expected}, All, _, _, _) ->
    N = length([x || {timer, X} <- All, X =:= Val]),
    N1 = if
        N =:= 0, Expected =:= one -> receive {timer, Val} -> 1 after 5000 -> 0 end;
        true -> N
    end,
    Right = if Expected =:= one -> 1; true -> 0 end,
    [io_lib:format(" timer r~b came ~b times", [V, N1]) || N1 =/= Right];
fact(alias, _, All, _, _, Log) ->
    N = length([x || {alias, _} <- All]),
    Right = case Log of #{unalias := true} -> N =:= 0; #{unalias := false} -> N =:= 1; _ -> N =< 1 end,
    [io_lib:format(" ~b messages through the alias", [N]) || not Right];
fact(_, _, _, _, _, _) -> [].

%% Numbers 1, 2, 3 … without a gap, all of them if it lived to its end, and nothing of it after the news of its death.
order(T, All, P, Why) ->
    Mine = lists:flatmap(fun({number, Q, N}) when Q =:= P -> [N];
                            ({'EXIT', Q, R}) when Q =:= P ->
                                case numbered(R) of true -> [element(2, R) - 100]; false -> [dead] end;
                            ({'DOWN', _, process, Q, _}) when Q =:= P -> [dead];
                            (_) -> [] end, All),
    {Numbers, Rest} = lists:splitwith(fun is_integer/1, Mine),
    Totals = [N || {total, Q, N} <- All, Q =:= P],
    Ended = lists:flatten(Why) =:= "user" ++ integer_to_list(900 + T),
    [io_lib:format(" out of order: w~b", [T]) || Numbers =/= lists:seq(1, length(Numbers))] ++
        [io_lib:format(" after its death: w~b", [T]) || lists:any(fun is_integer/1, Rest)] ++
        [io_lib:format(" something of w~b is lost", [T]) || Ended, Totals =/= [length(Numbers)]].

unlinked(T, All, P) ->
    {N, _, _} = exits(All, P),
    [io_lib:format(" ~b EXIT of w~b, which is not linked", [N, T]) || N > 0].
