<?php
// Every request comes here. What PHP has to say of its errors is in docker logs.
header('Content-Type: text/plain; charset=utf-8');
echo "[[.Name]] runs PHP ", PHP_VERSION, "\n";
