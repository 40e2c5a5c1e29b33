#!/usr/bin/env escript
%% A TLS server that wants a client's certificate, and checks it by CRLs that it fetches from where certificates say: Erlang's
%% ssl, on which RabbitMQ, VerneMQ and EMQX stand. PORT FOLDER: an instance's; says "ready", and "welcome" to who gets in.
main([Port, Folder]) ->
    {ok, _} = application:ensure_all_started(inets),
    {ok, _} = application:ensure_all_started(ssl),
    {ok, Listener} = ssl:listen(list_to_integer(Port), [
        {certfile, Folder ++ "/mosquitto/server.pem"}, {keyfile, Folder ++ "/mosquitto/server.key"},
        {cacertfile, Folder ++ "/ca/root.pem"}, {verify, verify_peer}, {fail_if_no_peer_cert, true},
        {crl_check, true}, {crl_cache, {ssl_crl_cache, {internal, [{http, 5000}]}}},
        {active, false}, {reuseaddr, true}, {versions, ['tlsv1.2']}]),
    io:format("ready~n"),
    serve(Listener).

serve(Listener) ->
    {ok, Socket} = ssl:transport_accept(Listener),
    case ssl:handshake(Socket, 10000) of
        {ok, Tls} -> ssl:send(Tls, "welcome\n"), ssl:close(Tls);
        {error, _} -> refused
    end,
    serve(Listener).
