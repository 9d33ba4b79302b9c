# One bar chart with a logarithmic scale. Called by run.sh: gnuplot -e "data='…'; out='…'; name='…'; unit='…'; n=4" plot.gp
# data: a first line "workload program …", then a line for each workload with n numbers, "-" where there is none.
set terminal svg size 960,440 font "sans,12" background "white"
set output out
set title name noenhanced
set ylabel unit noenhanced
set style data histograms
set style histogram clustered gap 1
set style fill solid 0.85 noborder
set boxwidth 0.95
set logscale y
set grid ytics lc rgb "#dddddd"
set border 3
set tics nomirror
set xtics rotate by -15 noenhanced
set key outside top right vertical noenhanced
set datafile missing "-"
set yrange [*<0.5:*]
set linetype 1 lc rgb "#0b6e4f"
set linetype 2 lc rgb "#a90533"
set linetype 3 lc rgb "#00add8"
set linetype 4 lc rgb "#e0a030"
set linetype 5 lc rgb "#777777"
set linetype 6 lc rgb "#8866aa"
plot for [i=2:n+1] data using i:xtic(1) title columnheader(i), \
     for [i=2:n+1] data using ($0 - 1 + (i - 1.5 - n / 2.0) / (n + 1.0)):i:(sprintf("%.3g", column(i))) \
     with labels notitle font ",9" offset 0, 0.5
